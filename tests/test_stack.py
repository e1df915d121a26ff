"""Models trained together against the same models trained alone, by the reference implementation."""

import gc
from dataclasses import replace

import pytest
import torch
from conftest import NETWORKS
from torch import nn

from vae import seeds
from vae.errors import UserError
from vae.grid import Spec
from vae.models import families
from vae.models.families import FAMILIES
from vae.models.networks import Networks
from vae.training import loop, memory, schedule, stack
from vae.training.stack import Stack

CPU = torch.device("cpu")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def of(recipe, **changes):
    return replace(recipe, training=replace(recipe.training, **changes))


def pair(name, latent_sizes=(3, 8), seeds=(0, 1)):
    return [(Spec.parse(f"L{latent_size}_{name}"), seed) for latent_size in latent_sizes for seed in seeds]


def distance(first, second):
    """The largest relative distance of any tensor of two models' weights."""
    return max(
        ((value.cpu() - second.state_dict()[name].cpu()).norm() / second.state_dict()[name].norm()).item()
        for name, value in first.state_dict().items()
    )


@pytest.fixture
def double():
    """Double precision, in which rounding does not grow to another path through the kinks of a LeakyReLU."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("optimizer", "reduction", "network"),
    [
        *(("adam", "sum", network) for network in NETWORKS),
        *((optimizer, "mean", network) for optimizer in ("adamw", "sgd") for network in ("DNN2", "CNN2")),
    ],
)
def test_a_model_in_company_is_the_model_alone_after_a_hundred_steps(
    network, optimizer, reduction, device, images, recipe, double
):
    """Of either latent size, with a last batch that is smaller than the others."""
    recipe = of(
        recipe, optimizer=optimizer, batch_size=19, epochs=4, learning_rate=1e-4 if optimizer == "sgd" else 1e-3
    )
    recipe = replace(recipe, objective=replace(recipe.objective, reduction=reduction))
    images, device = images[:500], torch.device(device)
    members = pair(f"{network}_{network}")
    together = schedule.train_together(members, images, {"": recipe}, device)
    for (spec, seed), stacked in zip(members, together, strict=True):
        alone = loop.train(spec, seed, images, recipe, device)
        assert distance(stacked.model, alone.model) < 1e-9
        for epoch, wanted in zip(stacked.history, alone.history, strict=True):
            assert epoch["loss"] == pytest.approx(wanted["loss"], rel=1e-9)
            assert epoch["kld"] == pytest.approx(wanted["kld"], rel=1e-9, abs=1e-12)


def test_binarised_images_are_drawn_for_each_model_as_for_it_alone(images, recipe, double):
    recipe, members, grey = replace(of(recipe, epochs=2), binarise=True), pair("DNN1_CNN1", seeds=(0, 7)), images[:300]
    before = grey.clone()
    for count in (1, len(members)):
        together = schedule.train_together(members[:count], grey, {"": recipe}, CPU)
        for (spec, seed), stacked in zip(members, together, strict=False):
            assert distance(stacked.model, loop.train(spec, seed, grey, recipe, CPU).model) < 1e-9
    assert torch.equal(grey, before)


def test_the_padding_of_a_smaller_latent_size_stays_zero(images, recipe):
    runs = [loop.Run(spec, 0, CPU) for spec, _ in pair("CNN1_DNN1", seeds=(0,))]
    together = Stack(runs, images[:300], {"": of(recipe, optimizer="adamw")})
    together.set_done(0.5)
    heads, first = together.weights["encoder.heads.weight"][0], together.weights["decoder.0.weight"][0]
    before = first.detach().clone()
    noise = torch.zeros(2, 300, 8)
    noise[0, :, :3], noise[1] = torch.randn(300, 3), torch.randn(300, 8)
    for chosen in torch.arange(300).expand(2, 300).split(50, 1):
        together.step(chosen, noise[:, chosen[0]])
    assert not torch.equal(first, before)
    assert not first[:, 3:].any()
    assert not heads[3:8].any()
    assert not heads[11:].any()
    assert heads[:3].all()


def test_a_model_that_diverges_leaves_the_others_alone(images, recipe, monkeypatch):
    members = pair("DNN1_DNN1", latent_sizes=(3,), seeds=(0, 1, 2))
    build = stack.build

    def poisoned(spec, shape, widths, seed):
        model = build(spec, shape, widths, seed)
        if seed == seeds.of_model("weights", 1):
            with torch.no_grad():
                model.decoder[0].weight.fill_(1e38)
        return model

    sound = schedule.train_together(members, images[:500], {"": recipe}, CPU)
    monkeypatch.setattr(stack, "build", poisoned)
    trained = schedule.train_together(members, images[:500], {"": of(recipe, epochs=2)}, CPU)
    assert [model.status for model in trained] == ["ok", "diverged", "ok"]
    assert [len(model.history) for model in trained] == [2, 1, 2]
    assert all(value.isfinite().all() for value in trained[1].model.state_dict().values())
    assert trained[1].model.decoder[0].weight.max() == 1e38
    for index in (0, 2):
        assert trained[index].history[0]["loss"] == sound[index].history[0]["loss"]


@pytest.fixture
def gpu(monkeypatch):
    """A CPU that `train_all` takes for a GPU; returns the sizes of the stacks it trains, and lets tests change them."""
    sizes, original = [], schedule.train_together

    def train_together(members, images, recipes, device, progress):
        sizes.append(len(members))
        return original(members, images, recipes, CPU, progress)

    monkeypatch.setattr(schedule, "train_together", train_together)
    monkeypatch.setattr(schedule, "free_memory", lambda device: 2**40)
    return sizes


GPU = torch.device("cuda")


def test_models_are_split_to_fit_the_memory_and_come_in_order(gpu, images, recipe):
    members = pair("DNN1_DNN1", seeds=(0, 1, 2))
    need = memory.needed(Spec.parse("L8_DNN1_DNN1"), (28, 28), recipe, 500, stacked=True)
    whole = list(schedule.train_all(members, images[:500], {"": recipe}, GPU))
    parts = list(schedule.train_all(members, images[:500], {"": recipe}, GPU, max_memory=4 * need + need // 2))
    assert gpu == [6, 4, 2]
    for unsplit, split in zip(whole, parts, strict=True):
        assert distance(unsplit.model, split.model) < 1e-4
    assert [model.together for model in parts] == [4, 4, 4, 4, 2, 2]


def test_only_models_of_one_pair_are_stacked(gpu, images, recipe):
    members = pair("DNN1_DNN1", seeds=(0,)) + pair("CNN1_DNN1", seeds=(0,)) + pair("DNN1_DNN1", seeds=(1,))
    trained = list(schedule.train_all(members, images[:500], {"": recipe}, GPU))
    assert gpu == [2, 2, 2]
    assert [training.model.latent_size for training in trained] == [3, 8] * 3


def test_out_of_memory_halves_the_stack_and_is_said(gpu, images, recipe, monkeypatch, caplog):
    train_together = schedule.train_together

    def small(members, *arguments):
        if len(members) > 1:
            gpu.append(-len(members))
            raise torch.OutOfMemoryError
        return train_together(members, *arguments)

    monkeypatch.setattr(schedule, "train_together", small)
    trained = list(schedule.train_all(pair("DNN1_DNN1"), images[:500], {"": recipe}, GPU))
    assert gpu == [-4, -2, 1, 1, 1, 1]
    assert [record.message for record in caplog.records if "memory" in record.message] == [
        "out of memory; retrying with 2 models at once",
        "out of memory; retrying with 1 models at once",
    ]
    assert [len(model.history) for model in trained] == [1] * 4


def test_a_model_too_large_for_the_memory_is_refused(images, recipe):
    with pytest.raises(UserError, match=r"L8_DNN1_DNN1: training takes about \d+ MiB and 0 MiB are free"):
        list(schedule.train_all(pair("DNN1_DNN1"), images, {"": recipe}, CPU, max_memory=1000))


def test_what_a_model_needs_grows_with_what_it_holds(recipe):
    def need(label="L8_CNN2_CNN2", count=1000, **changes):
        return memory.needed(Spec.parse(label), (28, 28), of(recipe, **changes), count)

    assert need(count=2000) - need(count=1000) == 1000 * (8 * 4 + 8)
    activations = (need(batch_size=300) - need(batch_size=100)) / 200
    # Of every image at least the feature maps of both sides are kept, and the logits, twice.
    assert activations > 2 * 4 * (2 * (2 * 14 * 14 + 4 * 7 * 7) + 28 * 28)
    assert activations < 20 * 4 * (2 * (2 * 14 * 14 + 4 * 7 * 7) + 28 * 28)


def test_what_a_stack_lays_out_is_counted_and_weights_are_not_counted_again_for_every_image(recipe):
    def need(label, batch, stacked=True):
        return memory.needed(Spec.parse(label), (28, 28), wide(batch), 1000, stacked)

    def wide(batch):
        return replace(of(recipe, batch_size=batch), networks=Networks(512, 4))

    # A product of the last convolution of the decoder meets nine of four channels at each of 14×14 places, or
    # twenty-five of the one that its gradient has.
    laid_out = 4 * 128 * 14 * 14 * 9 * 4
    assert need("L8_DNN1_CNN1", 128) - need("L8_DNN1_CNN1", 128, stacked=False) >= 2 * laid_out
    assert need("L8_DNN1_CNN1", 128) - need("L8_DNN1_CNN1", 128, stacked=False) < 4 * laid_out
    weights = 4 * 784 * 512
    assert need("L8_DNN1_DNN1", 20) - need("L8_DNN1_DNN1", 10) < weights


@pytest.mark.gpu
@pytest.mark.parametrize("network", ["DNN2", "CNN2"])
def test_the_predicted_memory_is_about_what_a_gpu_takes(network, images, recipe):
    recipe = replace(of(recipe, batch_size=500), networks=Networks(512, 16))
    members, device = pair(f"{network}_{network}", latent_sizes=(8,), seeds=range(8)), torch.device("cuda")
    torch.ones(8, 8, device=device) @ torch.ones(8, 8, device=device)  # what cuBLAS works in comes once a process
    gc.collect()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    schedule.train_together(members, images, {"": recipe}, device)
    predicted = 8 * memory.needed(members[0][0], (28, 28), recipe, len(images), stacked=True)
    assert 0.3 * predicted < torch.cuda.max_memory_allocated() - before < 1.5 * predicted


def test_layers_that_see_the_whole_batch_or_code_are_trained_alone(gpu, images, recipe, monkeypatch):
    class Normalised(FAMILIES["DNN"]):
        """A batch norm, whose statistics `torch.vmap` cannot move."""

        @staticmethod
        def encoder(depth, planes, widths):
            body, features = FAMILIES["DNN"].encoder(depth, planes, widths)
            return nn.Sequential(*body, nn.BatchNorm1d(features)), features

    class OverCode(FAMILIES["DNN"]):
        """A norm over the code, which padding would change."""

        @staticmethod
        def decoder(depth, latent_size, planes, widths):
            norm = nn.LayerNorm(latent_size)
            return nn.Sequential(norm, *FAMILIES["DNN"].decoder(depth, latent_size, planes, widths))

    monkeypatch.setitem(families.FAMILIES, "BN", Normalised)
    monkeypatch.setitem(families.FAMILIES, "LN", OverCode)
    assert schedule.stackable(pair("DNN1_CNN1"), images, {"": recipe})
    assert not schedule.stackable(pair("BN1_DNN1"), images, {"": recipe})
    assert not schedule.stackable(pair("DNN1_LN1"), images, {"": recipe})
    assert schedule.stackable(pair("DNN1_LN1", latent_sizes=(3,)), images, {"": recipe})
    assert not gpu


def test_a_cpu_trains_one_after_the_other(gpu, images, recipe):
    trained = list(schedule.train_all(pair("DNN1_DNN1"), images[:500], {"": recipe}, CPU))
    assert not gpu
    assert [model.together for model in trained] == [1] * 4


@pytest.mark.parametrize("label", ["L8_CNN1_DNN1", "L8_DNN1_CNN1"])
def test_lower_precision_is_another_result_near_the_first(images, recipe, label):
    spec = Spec.parse(label)
    full, mixed = (loop.train(spec, 0, images, of(recipe, precision=p), CPU) for p in ("fp32", "bf16"))
    assert distance(full.model, mixed.model) > 0
    assert mixed.history[-1]["reconstruction"] == pytest.approx(full.history[-1]["reconstruction"], rel=0.02)
    (together,) = schedule.train_together([(spec, 0)], images, {"": of(recipe, precision="bf16")}, CPU)
    assert together.history[-1]["reconstruction"] == pytest.approx(mixed.history[-1]["reconstruction"], rel=0.01)
