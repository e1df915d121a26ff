"""A training that is interrupted goes on after its last finished epoch, and ends where it would have ended."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vae.grid import Spec
from vae.models.networks import Networks
from vae.training import loop, schedule
from vae.training.optimizer import KERNELS
from vae.training.state import Progress

CPU = torch.device("cpu")


class Killed(Exception):
    pass


class Fragile(Progress):
    """The process ends once this many epochs are kept."""

    epochs = 2

    def save(self, saved):
        super().save(saved)
        if len(saved.history) == self.epochs:
            raise Killed


def of(recipe, **changes):
    return replace(recipe, training=replace(recipe.training, **{"epochs": 4} | changes))


def same(first, second):
    """Whether two trained models agree to the last bit, but for the time that they took."""
    assert first.status == second.status
    for epoch, expected in zip(first.history, second.history, strict=True):
        np.testing.assert_equal(epoch | {"seconds": 0}, expected | {"seconds": 0})  # a NaN is a NaN
    return all(torch.equal(value, second.model.state_dict()[name]) for name, value in first.model.state_dict().items())


@pytest.mark.parametrize("label", ["L3_DNN2_CNN1", "L3_CNN2_CNN2"])
@pytest.mark.parametrize("optimizer", KERNELS)
def test_a_training_that_is_resumed_ends_at_the_same_bits(label, optimizer, images, recipe, tmp_path):
    """Also where weights, and with them the optimiser's moments, are in channels-last order."""
    recipe = replace(of(recipe, optimizer=optimizer), networks=Networks(32, 16), binarise=optimizer == "adamw")
    spec, path = Spec.parse(label), tmp_path / "unfinished.safetensors"
    whole = loop.train(spec, 1, images[:250], recipe, CPU)
    with pytest.raises(Killed):
        loop.train(spec, 1, images[:250], recipe, CPU, Fragile(path, {}))
    epochs = []
    progress = Progress(path, {})
    progress.save = lambda saved: epochs.append(len(saved.history))
    assert same(whole, loop.train(spec, 1, images[:250], recipe, CPU, progress))
    assert epochs == [3, 4]


@pytest.mark.gpu
@pytest.mark.parametrize("pair", ["DNN2_CNN1", "CNN2_DNN1"])
def test_a_stack_that_is_resumed_on_a_gpu_ends_at_the_same_bits(pair, images, recipe, tmp_path, arithmetic):
    members = [(Spec.parse(f"L{size}_{pair}"), 0) for size in (3, 5)]
    recipes, gpu = {"": of(recipe, batch_size=50)}, torch.device("cuda")
    arithmetic("fp32")
    whole, again = (schedule.train_together(members, images[:250], recipes, gpu) for _ in range(2))
    assert all(same(first, second) for first, second in zip(whole, again, strict=True))
    files = [tmp_path / str(size) for size in (3, 5)]
    kept = dict(zip(members, (Progress(files[0], {}), Fragile(files[1], {})), strict=True))
    with pytest.raises(Killed):
        schedule.train_together(members, images[:250], recipes, gpu, kept)
    kept = dict(zip(members, (Progress(file, {}) for file in files), strict=True))
    resumed = schedule.train_together(members, images[:250], recipes, gpu, kept)
    assert all(same(first, second) for first, second in zip(whole, resumed, strict=True))


def test_a_training_that_was_over_is_not_trained_further(images, recipe, tmp_path):
    spec, progress = Spec.parse("L2_DNN4_DNN4"), Progress(tmp_path / "unfinished.safetensors", {})
    for changed, status in ((of(recipe), "ok"), (of(recipe, learning_rate=1e30), "diverged")):
        progress.remove()
        whole = loop.train(spec, 0, images[:250], changed, CPU, progress)
        progress.save = None
        assert same(whole, loop.train(spec, 0, images[:250], changed, CPU, progress))
        assert whole.status == status
        del progress.save


@pytest.mark.parametrize("damage", ["identity", "truncated", "garbage", "flipped", "empty", "zeros"])
def test_what_is_of_another_training_or_damaged_is_not_gone_on_with(damage, images, recipe, tmp_path, caplog):
    spec, path = Spec.parse("L2_DNN1_DNN1"), tmp_path / "unfinished.safetensors"
    with pytest.raises(Killed):
        loop.train(spec, 0, images[:250], of(recipe), CPU, Fragile(path, {"seed": 0}))
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    damaged = {"identity": path.read_bytes(), "truncated": raw[:-9], "garbage": b"garbage", "flipped": raw}
    damaged |= {"empty": b"", "zeros": bytes(len(raw))}
    path.write_bytes(damaged[damage])
    progress = Progress(path, {"seed": 1 if damage == "identity" else 0})
    assert progress.load() is None
    assert str(path) in caplog.text
    assert not path.exists()


@pytest.mark.parametrize("optimizer", KERNELS)
def test_a_stack_that_is_resumed_ends_where_it_would_have(optimizer, images, recipe, tmp_path):
    recipe, members = of(recipe, optimizer=optimizer), [(Spec.parse(f"L{size}_CNN1_DNN1"), 0) for size in (2, 5)]
    whole = schedule.train_together(members, images[:250], {"": recipe}, CPU)
    paths = [tmp_path / str(spec) for spec, _ in members]
    kept = {member: Progress(path, {}) for member, path in zip(members, paths, strict=True)}
    last = {members[-1]: Fragile(paths[-1], {})}
    with pytest.raises(Killed):
        schedule.train_together(members, images[:250], {"": recipe}, CPU, kept | last)
    resumed = schedule.train_together(members, images[:250], {"": recipe}, CPU, kept)
    assert all(same(*pair) for pair in zip(whole, resumed, strict=True))


def test_a_stack_whose_models_were_kept_at_different_epochs_starts_over(images, recipe, tmp_path):
    recipe, members = of(recipe), [(Spec.parse(f"L{size}_CNN1_DNN1"), 0) for size in (2, 5)]
    whole = schedule.train_together(members, images[:250], {"": recipe}, CPU)
    kept = {member: Progress(tmp_path / str(member[0]), {}) for member in members}
    for member, epochs in zip(members, (1, 2), strict=True):
        loop.train(*member, images[:250], of(recipe, epochs=epochs), CPU, kept[member])
    again = schedule.train_together(members, images[:250], {"": recipe}, CPU, kept)
    assert all(same(*pair) for pair in zip(whole, again, strict=True))


def test_out_of_memory_between_two_models_of_an_epoch_leaves_no_model_short(images, recipe, tmp_path, monkeypatch):
    """The second of them is an epoch behind, and they are trained apart."""

    class Full(Progress):
        def save(self, saved):
            if len(saved.history) == 2 and not self.path.with_suffix(".full").exists():
                self.path.with_suffix(".full").touch()
                raise torch.OutOfMemoryError
            super().save(saved)

    recipe, members = of(recipe), [(Spec.parse(f"L{size}_DNN1_DNN1"), 0) for size in (2, 5)]
    kept = {members[0]: Progress(tmp_path / "0", {}), members[1]: Full(tmp_path / "1", {})}
    original, gpu = schedule.train_together, torch.device("cuda")
    monkeypatch.setattr(schedule, "free_memory", lambda _: 10**9)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(
        schedule, "train_together", lambda chosen, *arguments: original(chosen, images[:250], {"": recipe}, CPU, kept)
    )
    trained = list(schedule.train_all(members, images[:250], {"": recipe}, gpu, None, kept))
    assert [len(model.history) for model in trained] == [4, 4]


def test_models_that_were_interrupted_at_different_epochs_are_trained_apart(images, recipe, tmp_path, monkeypatch):
    """As by a kill while the states of a stack are being written."""
    recipe, stacks, original = of(recipe), [], schedule.train_together
    members = [(Spec.parse(f"L{size}_DNN1_DNN1"), 0) for size in (2, 3, 4, 5)]
    kept = {member: Progress(tmp_path / str(member[0]), {}) for member in members}
    for member, epochs in zip(members, (4, 2, 2, 1), strict=True):
        loop.train(*member, images[:250], of(recipe, epochs=epochs), CPU, kept[member])

    def train_together(chosen, *arguments):
        stacks.append([spec.latent_size for spec, _ in chosen])
        return original(chosen, images[:250], {"": recipe}, CPU, kept)

    def train(spec, seed, images, recipe, device, progress):
        return loop.train(spec, seed, images, recipe, CPU, progress)

    monkeypatch.setattr(schedule, "train_together", train_together)
    monkeypatch.setattr(schedule, "train", train)
    monkeypatch.setattr(schedule, "free_memory", lambda _: 10**9)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    trained = list(schedule.train_all(members, images[:250], {"": recipe}, torch.device("cuda"), None, kept))
    assert stacks == [[3, 4], [5]]
    for member, model in zip(members, trained, strict=True):
        alone = loop.train(*member, images[:250], recipe, CPU)
        assert [epoch["loss"] for epoch in model.history] == pytest.approx([epoch["loss"] for epoch in alone.history])
