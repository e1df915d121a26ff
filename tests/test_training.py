from dataclasses import replace
from math import isfinite

import numpy as np
import pytest
import torch
from conftest import NETWORKS, TORCHS

from vae.data import dataset
from vae.errors import UserError
from vae.grid import Spec
from vae.measures import losses
from vae.training import checkpoint, loop
from vae.training.optimizer import KERNELS, Optimizer

CPU = torch.device("cpu")


def of(recipe, **changes):
    return replace(recipe, training=replace(recipe.training, **changes))


def equal(first, second):
    return all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


@pytest.mark.parametrize("network", NETWORKS)
def test_every_family_learns(network, images, recipe):
    trained = loop.train(Spec.parse(f"L8_{network}_{network}"), 0, images, of(recipe, epochs=4), CPU)
    assert trained.status == "ok"
    assert [epoch["epoch"] for epoch in trained.history] == [1, 2, 3, 4]
    assert trained.history[-1]["loss"] < 0.8 * trained.history[0]["loss"]


def test_an_autoencoder_has_no_noise_and_reconstructs_better(images, test_images, recipe):
    spec, vae = Spec.parse("L8_DNN1_DNN1"), of(recipe, epochs=10, learning_rate=0.01, antithetic=True)
    autoencoder = vae.autoencoder
    first, second = (loop.train(spec, 0, images[:1000], how, CPU) for how in (vae, autoencoder))
    kept = [losses.evaluate(second.model, test_images, vae.objective, seed, deterministic=True) for seed in (0, 1)]
    assert kept[0] == kept[1]
    assert kept[0]["reconstruction"] < losses.evaluate(first.model, test_images, vae.objective, 0)["reconstruction"] - 5
    # What was minimised is the reconstruction alone, of codes that are the means.
    assert all(epoch["loss"] == pytest.approx(epoch["reconstruction"]) for epoch in second.history)
    assert not loop.Run(spec, 0, CPU, deterministic=True).draw(10)[1].any()


@pytest.mark.parametrize("optimizer", KERNELS)
def test_steps_are_those_of_torch_to_the_last_bit(optimizer):
    """Of parameters that are trained at different shares of the learning rate, in any order of memory."""
    generator = torch.Generator().manual_seed(0)
    shapes, groups = [(3, 4, 5, 5), (7,), (2, 3)], ([], [])
    for shape in shapes:
        start = torch.randn(shape, generator=generator)
        start = start.to(memory_format=torch.channels_last) if len(shape) == 4 else start
        for group in groups:
            group.append(start.clone().requires_grad_())
    ours, theirs = groups
    fused = Optimizer(optimizer, {0.5: ours[:1], 1.0: ours[1:]})
    named = [{"params": theirs[:1]}, {"params": theirs[1:]}]
    reference = TORCHS[optimizer](named, fused=True)
    for step in range(20):
        rate = 0.01 * (step + 1)
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator).to(one)
            other.grad = one.grad.clone()
        fused.step(rate)
        for group, share in zip(reference.param_groups, (0.5, 1.0), strict=True):
            group["lr"] = share * rate
        reference.step()
        assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))
    fused.zero_grad()
    assert all(one.grad is None for one in ours)


@pytest.mark.parametrize("optimizer", KERNELS)
def test_every_optimizer_takes_steps(optimizer, images, recipe):
    changed = of(recipe, optimizer=optimizer, learning_rate=0.01, epochs=2)
    changed = replace(changed, objective=replace(recipe.objective, reduction="mean"))
    first, second = loop.train(Spec.parse("L2_DNN1_DNN1"), 0, images[:500], changed, CPU).history
    assert second["loss"] < first["loss"]


def test_a_seed_decides_a_model_whatever_was_trained_before(images, recipe):
    spec = Spec.parse("L4_CNN1_DNN1")
    alone = loop.train(spec, 3, images[:500], recipe, CPU).model
    loop.train(Spec.parse("L9_DNN1_CNN2"), 3, images[:500], recipe, CPU)
    torch.rand(17)
    np.random.rand(17)
    assert equal(alone, loop.train(spec, 3, images[:500], recipe, CPU).model)
    assert not equal(alone, loop.train(spec, 4, images[:500], recipe, CPU).model)


def test_every_image_is_seen_once_an_epoch_in_a_new_order(images, recipe, monkeypatch):
    batches = []
    original = loop.as_inputs
    monkeypatch.setattr(loop, "as_inputs", lambda batch: batches.append(batch) or original(batch))
    loop.train(Spec.parse("L2_DNN1_DNN1"), 0, images[:250], of(recipe, epochs=2), CPU)
    assert [len(batch) for batch in batches] == [100, 100, 50] * 2
    first, second = torch.cat(batches[:3]), torch.cat(batches[3:])
    assert not torch.equal(first, second)
    for epoch in (first, second):
        assert sorted(map(bytes, epoch.numpy())) == sorted(map(bytes, images[:250].numpy()))


def test_binarised_images_are_white_as_often_as_they_are_bright_and_new_in_every_epoch():
    run = loop.Run(Spec.parse("L4_DNN1_DNN1"), 0, CPU)
    grey = torch.tensor([0, 51, 204, 255], dtype=torch.uint8).expand(20000, 1, 4)
    first, second = run.images(grey), run.images(grey)
    assert first.unique().tolist() == [0, 255]
    assert (first == 255).double().mean((0, 1)).tolist() == pytest.approx([0, 0.2, 0.8, 1], abs=0.02)
    assert first[..., 0].max() == 0
    assert first[..., 3].min() == 255
    assert not torch.equal(first, second)


def test_a_model_of_binarised_images_is_another_model(images, recipe):
    spec = Spec.parse("L4_DNN1_DNN1")
    grey, drawn = (
        loop.train(spec, 0, images[:200], replace(recipe, binarise=binarise), CPU) for binarise in (False, True)
    )
    assert not equal(grey.model, drawn.model)
    assert images[:200].unique().numel() > 2


def test_a_model_that_diverges_is_a_result(images, test_images, recipe):
    spec = Spec.parse("L2_DNN4_DNN4")
    trained = loop.train(spec, 0, images[:500], of(recipe, learning_rate=1e30, epochs=3), CPU)
    assert trained.status == "diverged"
    assert len(trained.history) == 1
    assert all(value.isfinite().all() for value in trained.model.state_dict().values())
    metrics = losses.evaluate(trained.model, test_images, recipe.objective, 0)
    assert isfinite(metrics["reconstruction"])


def test_the_subset_is_the_same_for_everyone_and_mixes_the_classes(sample):
    chosen = dataset.subset(sample.train_images, 100)
    assert np.array_equal(chosen, dataset.subset(sample.train_images, 100))
    assert len({bytes(image) for image in chosen}) == 100
    assert dataset.subset(sample.train_images, None) is sample.train_images
    with pytest.raises(UserError, match=r"training.images: 2001 are asked for, the dataset has 2000"):
        dataset.subset(sample.train_images, 2001)


def test_a_checkpoint_reads_back_and_says_how_it_was_made(tmp_path, images, recipe):
    folder = tmp_path / "L2_CNN1_DNN1" / "seed4"
    trained = loop.train(Spec.parse("L2_CNN1_DNN1"), 4, images[:500], recipe, CPU)
    facts = {"name": "sample", "sha256": "abc", "image_shape": [28, 28]}
    checkpoint.save(folder, trained, {"kld": 1.0}, recipe, facts)
    assert equal(trained.model, checkpoint.load(folder))
    assert sorted(path.name for path in folder.iterdir()) == [
        "history.csv", "metrics.json", "provenance.json", "weights.safetensors",
    ]  # fmt: skip
    weights = (folder / "weights.safetensors").read_bytes()
    for damaged in (b"garbage", weights[:-1], weights[:-1] + bytes([weights[-1] ^ 1])):
        (folder / "weights.safetensors").write_bytes(damaged)
        with pytest.raises(UserError, match=r"weights.safetensors: damaged or replaced since it was written"):
            checkpoint.load(folder)
