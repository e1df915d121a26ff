"""What changes over the steps of a training: the learning rate and the weight of the KLD; and clipped gradients."""

from dataclasses import replace
from math import prod, sqrt

import pytest
import torch
from conftest import TORCHS
from hypothesis import given
from hypothesis import strategies as st

from vae.grid import Spec
from vae.models.networks import Networks
from vae.models.vae import as_inputs, build
from vae.training import loop, schedule
from vae.training.objective import Objective
from vae.training.optimizer import KERNELS, Optimizer
from vae.training.recipe import Recipe, Training
from vae.training.state import Progress

CPU = torch.device("cpu")
PIXELS = 28 * 28
OFF = {
    "networks": {"initialisation": "torch"},
    "objective": {"kl_warmup": 0.0},
    "training": {
        "schedule": "constant",
        "warmup": 0.0,
        "gradient_clip": None,
        "scaled_rate": False,
        "antithetic": False,
    },
}
# Every gradient of these models is longer.
CLIP = 10.0
ALL_ON = {
    "networks": {"initialisation": "he"},
    "objective": {"kl_warmup": 0.25},
    "training": {
        "schedule": "cosine",
        "warmup": 0.1,
        "gradient_clip": CLIP,
        "scaled_rate": True,
        "antithetic": True,
    },
}


def of(recipe, **parts):
    """A recipe with other values of some fields of its parts."""
    return replace(recipe, **{part: replace(getattr(recipe, part), **fields) for part, fields in parts.items()})


def rate(done, schedule="cosine", warmup=0.1):
    return Training("adam", 2.0, 100, 1, None, schedule=schedule, warmup=warmup).rate(done)


def distance(first, second):
    """The largest relative distance of any tensor of two models' weights."""
    return max(
        ((value - second.state_dict()[name]).norm() / second.state_dict()[name].norm()).item()
        for name, value in first.state_dict().items()
    )


def same(first, second):
    """Whether two models agree to the last bit."""
    return all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


@pytest.fixture
def double():
    """Double precision, in which rounding does not grow to another path through the kinks of a LeakyReLU."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_the_learning_rate_rises_linearly_then_falls_along_half_a_cosine_to_zero():
    assert [rate(done) for done in (0, 0.025, 0.05, 0.1)] == pytest.approx([0, 0.5, 1, 2])
    # A third, a half and two thirds of the way down, and its end.
    assert [rate(0.1 + 0.9 * part) for part in (1 / 3, 1 / 2, 2 / 3, 1)] == pytest.approx([1.5, 1, 0.5, 0])
    assert [rate(done, warmup=0.0) for done in (0, 0.5, 1)] == pytest.approx([2, 1, 0])


def test_a_constant_learning_rate_stays_after_the_warm_up():
    assert [rate(done, schedule="constant") for done in (0.05, 0.1, 0.5, 1)] == pytest.approx([1, 2, 2, 2])
    assert {rate(done / 10, schedule="constant", warmup=0.0) for done in range(11)} == {2.0}


@given(st.sampled_from(["constant", "cosine"]), st.floats(0, 0.99), st.floats(0, 1))
def test_the_learning_rate_is_never_above_the_configs_nor_below_zero(name, warmup, done):
    assert 0 <= rate(done, schedule=name, warmup=warmup) <= 2


def test_the_weight_of_the_kld_rises_linearly_and_stays(recipe):
    warmed = of(recipe, objective={"kl_warmup": 0.4}).objective.warmed
    assert [warmed(done) for done in (0, 0.1, 0.2, 0.4, 0.7, 1)] == pytest.approx([0, 0.25, 0.5, 1, 1, 1])
    assert of(recipe, objective={"kl_warmup": 1.0}).objective.warmed(0.5) == 0.5
    assert [recipe.objective.warmed(done) for done in (0, 0.5, 1)] == [1, 1, 1]


@given(st.integers(1, 7), st.integers(1, 9), st.integers(1, 30))
def test_the_shares_of_steps_rise_by_the_same_amount_over_all_epochs(epochs, batch_size, count):
    recipe = Recipe(
        Networks(1, 1), Objective("bernoulli", 0.1, 1.0, "sum"), Training("adam", 1.0, batch_size, epochs, None)
    )
    shares = [share for epoch in range(epochs) for share in loop.shares(recipe, count, epoch)]
    steps = epochs * len(torch.arange(count).split(batch_size))
    assert shares == pytest.approx([(step + 0.5) / steps for step in range(steps)])
    assert all(0 < share < 1 for share in shares)


class Recorded:
    """What each step of an optimiser is given: learning rates, and the norms of the gradients of every model."""

    def __init__(self, monkeypatch, stacked=False):
        self.rates, self.norms = [], []
        record, step = self, Optimizer.step

        def recording(self, rate):
            gradients = [parameter.grad.flatten(1 if stacked else 0) for parameter in self.state]
            parts = [gradient.norm(dim=-1) for gradient in gradients]
            record.rates.append(rate)
            record.norms.append(torch.stack(parts).norm(dim=0))
            step(self, rate)

        monkeypatch.setattr(Optimizer, "step", recording)

    @property
    def largest(self):
        """The largest norm of any step, of each model."""
        return torch.stack(self.norms).amax(0)


def test_every_step_has_the_learning_rate_of_its_share(images, recipe, monkeypatch):
    recipe = of(recipe, training={"epochs": 3, "batch_size": 60, "schedule": "cosine", "warmup": 0.3})
    record = Recorded(monkeypatch)
    loop.train(Spec.parse("L2_DNN1_DNN1"), 0, images[:250], recipe, CPU)
    wanted = [recipe.training.rate((step + 0.5) / 15) for step in range(15)]
    assert record.rates == pytest.approx(wanted)
    assert record.rates[:5] == sorted(record.rates[:5])
    assert record.rates[-1] < 0.02 * recipe.training.learning_rate


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_gradients_are_no_longer_than_the_clip_allows(reduction, images, recipe, monkeypatch):
    recipe = of(recipe, objective={"reduction": reduction}, training={"batch_size": 50})
    spec, clipped = Spec.parse("L3_DNN2_CNN1"), of(recipe, training={"gradient_clip": CLIP})
    largest = CLIP * clipped.objective.scale(PIXELS)
    free = Recorded(monkeypatch)
    loop.train(spec, 0, images[:300], recipe, CPU)
    assert free.largest > 2 * largest
    alone = Recorded(monkeypatch)
    loop.train(spec, 0, images[:300], clipped, CPU)
    assert 0.99 * largest < alone.largest < largest * (1 + 1e-5)
    together = Recorded(monkeypatch, stacked=True)
    members = [(spec, 0), (Spec.parse("L7_DNN2_CNN1"), 1)]
    schedule.train_together(members, images[:300], {"": clipped}, CPU)
    assert together.largest.shape == (2,)
    assert (together.largest < largest * (1 + 1e-5)).all()
    assert (together.largest > 0.99 * largest).all()


def test_a_scaled_rate_is_less_in_wide_layers_and_deep_models():
    """Of four layers, of 784, 32, 3 and 32 inputs; of six, of 9 taps a channel, or where it grows a quarter of 25."""
    dense, deeper = (
        Training("adam", 1.0, 100, 1, None, scaled_rate=True).layer_rates(
            build(Spec.parse(label), (28, 28), Networks(32, 2), 0)
        )
        for label in ("L3_DNN1_DNN1", "L3_CNN2_CNN2")
    )
    assert list(dense.values())[::2] == pytest.approx([1 / (4 * sqrt(inputs)) for inputs in (784, 32, 3, 32)])
    assert list(dense.values())[1::2] == list(dense.values())[::2]  # of a layer's biases
    widths = (25, 25 * 2, 4 * 49, 3, 25 * 4 / 4, 25 * 2 / 4)
    assert list(deeper.values())[::2] == pytest.approx([1 / (6 * sqrt(inputs)) for inputs in widths])


def test_the_first_step_of_adam_goes_as_far_in_every_layer_as_its_rate_says(images, recipe):
    """Its length does not depend on the gradient, but where that is zero."""
    spec = Spec.parse("L3_DNN2_CNN1")
    recipe = of(recipe, training={"learning_rate": 0.5, "scaled_rate": True, "batch_size": 300})
    before = build(spec, (28, 28), recipe.networks, loop.Run(spec, 0, CPU).weights_seed)
    after = loop.train(spec, 0, images[:300], recipe, CPU).model
    rates = recipe.training.layer_rates(before)
    for name, weights in before.state_dict().items():
        longest = (after.state_dict()[name] - weights).abs().max().item()
        assert longest == pytest.approx(0.5 * rates[name], rel=1e-3), name


def test_opposite_codes_cancel_what_is_odd_in_the_noise(double):
    """With a linear decoder and a Gaussian likelihood, the gradient in the mean of a code is that without noise."""
    generator = torch.Generator().manual_seed(0)
    images, mean, noise = (torch.randn(5, size, generator=generator) for size in (6, 3, 3))
    weights, images = torch.randn(3, 6, generator=generator), images[:, None, None]
    mean.requires_grad_()

    def gradient(noise, antithetic):
        codes = Training("sgd", 1.0, 5, 1, None, antithetic=antithetic).codes(noise)
        nats = (images - ((mean + 2 * codes) @ weights)[..., None, None, :]).square().flatten(-3).sum(-1)
        return torch.autograd.grad(nats.mean(), mean)[0]

    without = gradient(torch.zeros_like(noise), False)
    torch.testing.assert_close(gradient(noise, True), without)
    assert (gradient(noise, False) - without).norm() > 0.1 * without.norm()


def test_an_image_of_many_codes_loses_their_mean(images, recipe):
    """Code by code, of the whole model too."""
    spec, inputs = Spec.parse("L3_CNN1_CNN2"), as_inputs(images[:7])
    model = build(spec, (28, 28), recipe.networks, 0)
    noise = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0))
    many, one, other = (loop.terms(recipe.objective, model(inputs, each), inputs, 0.5) for each in (noise, *noise))
    torch.testing.assert_close(many, (one + other) / 2)
    assert one[1] != other[1]


def test_a_clip_that_no_gradient_reaches_changes_nothing(images, recipe):
    members, images = [(Spec.parse("L3_DNN1_CNN1"), 0)], images[:300]
    free, clipped = (of(recipe, training={"gradient_clip": clip}) for clip in (None, 1e9))
    alone = [loop.train(*members[0], images, each, CPU) for each in (free, clipped)]
    together = [schedule.train_together(members, images, {"": each}, CPU)[0] for each in (free, clipped)]
    assert same(*(trained.model for trained in alone))
    assert same(*(trained.model for trained in together))


def test_a_clip_means_the_same_under_both_reductions(images, recipe, double):
    """Nats per image: with plain gradient descent, a step that is scaled by the pixels is the same step."""
    mean = of(
        recipe,
        objective={"reduction": "mean"},
        training={"optimizer": "sgd", "learning_rate": 1e-3 * PIXELS, "gradient_clip": CLIP, "batch_size": 50},
    )
    spec = Spec.parse("L4_DNN1_DNN1")
    total = of(
        mean,
        objective={"reduction": "sum", "beta": mean.objective.effective_beta(PIXELS, spec.latent_size)},
        training={"learning_rate": 1e-3},
    )
    first, second = (loop.train(spec, 0, images[:500], each, CPU) for each in (mean, total))
    free = loop.train(spec, 0, images[:500], of(total, training={"gradient_clip": None}), CPU)
    assert distance(first.model, second.model) < 1e-4
    assert distance(free.model, second.model) > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", KERNELS)
def test_with_everything_on_a_model_in_company_is_the_model_alone_after_a_hundred_steps(
    optimizer, images, recipe, double
):
    """Also where members differ in the weight of the KLD and in the learning rate."""
    learning_rate = 1.0 if optimizer == "sgd" else 0.1
    training = {"optimizer": optimizer, "batch_size": 41, "epochs": 4, "learning_rate": learning_rate}
    usual = of(of(recipe, **ALL_ON), training=training, objective={"reduction": "mean"})
    recipes = {
        "": usual,
        "beta0.1": of(usual, objective={"beta": 0.1}),
        "learning-rate3": of(usual, training={"learning_rate": 3 * learning_rate}),
        "beta0.1_learning-rate3": of(usual, objective={"beta": 0.1}, training={"learning_rate": 3 * learning_rate}),
    }
    members = [(Spec.parse(f"L{3 + index % 2 * 5}_CNN2_DNN2"), index % 3) for index in range(len(recipes))]
    members = [(replace(spec, variant=name), seed) for (spec, seed), name in zip(members, recipes, strict=True)]
    images = images[:1000]
    together = schedule.train_together(members, images, recipes, CPU)
    for (spec, seed), stacked in zip(members, together, strict=True):
        alone = loop.train(spec, seed, images, recipes[spec.variant], CPU)
        assert distance(stacked.model, alone.model) < 1e-9
        for epoch, wanted in zip(stacked.history, alone.history, strict=True):
            assert epoch["loss"] == pytest.approx(wanted["loss"], rel=1e-9)
            assert epoch["kld"] == pytest.approx(wanted["kld"], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("part", ALL_ON)
def test_every_feature_changes_the_model(part, images, recipe):
    recipe, spec = of(recipe, training={"batch_size": 20}), Spec.parse("L2_DNN1_CNN1")
    plain = loop.train(spec, 0, images[:300], recipe, CPU)
    for key, value in ALL_ON[part].items():
        changed = loop.train(spec, 0, images[:300], of(recipe, **{part: {key: value}}), CPU)
        assert not same(plain.model, changed.model), key


@pytest.mark.parametrize("optimizer", KERNELS)
def test_with_every_feature_off_a_training_is_a_plain_one(optimizer, images, config, recipe):
    """As the defaults of the dataclasses have it, and a loop that knows none of the features."""
    off = Recipe.of(config | {part: config[part] | OFF[part] for part in OFF})
    assert off == recipe
    off, spec = of(off, training={"optimizer": optimizer, "epochs": 2}), Spec.parse("L3_DNN2_DNN1")
    images = images[:250]
    trained, run = loop.train(spec, 3, images, off, CPU), loop.Run(spec, 3, CPU)
    model = build(spec, (28, 28), off.networks, run.weights_seed)
    steps = TORCHS[optimizer](model.parameters(), lr=off.training.learning_rate, fused=True)
    for _ in range(2):
        for chosen, noise in run.batches(len(images), off.training.batch_size):
            inputs = as_inputs(images[chosen])
            mean, log_variance, logits = model(inputs, noise)
            nats = off.objective.reconstruction(logits, inputs).mean()
            divergence = loop.kld(mean, log_variance).sum(1).mean()
            steps.zero_grad()
            (nats + divergence).backward()
            steps.step()
    assert same(trained.model, model)


class Killed(Exception):
    pass


class Fragile(Progress):
    """The process ends once two epochs are kept."""

    def save(self, saved):
        super().save(saved)
        if len(saved.history) == 2:
            raise Killed


@pytest.mark.parametrize("optimizer", KERNELS)
def test_a_training_that_is_resumed_within_its_schedule_ends_at_the_same_bits(optimizer, images, recipe, tmp_path):
    recipe = of(of(recipe, **ALL_ON), training={"epochs": 5, "optimizer": optimizer, "warmup": 0.5})
    spec, path, images = Spec.parse("L3_DNN2_CNN1"), tmp_path / "unfinished.safetensors", images[:250]
    whole = loop.train(spec, 1, images, recipe, CPU)
    with pytest.raises(Killed):
        loop.train(spec, 1, images, recipe, CPU, Fragile(path, {}))
    resumed = loop.train(spec, 1, images, recipe, CPU, Progress(path, {}))
    assert same(whole.model, resumed.model)
    assert [epoch["loss"] for epoch in whole.history] == [epoch["loss"] for epoch in resumed.history]


@pytest.mark.parametrize("optimizer", KERNELS)
def test_a_stack_that_is_resumed_within_its_schedule_ends_at_the_same_bits(optimizer, images, recipe, tmp_path):
    usual = of(of(recipe, **ALL_ON), training={"epochs": 5, "optimizer": optimizer, "warmup": 0.5})
    recipes = {"": usual, "beta2": of(usual, objective={"beta": 2.0})}
    members = [(Spec.parse(label), 0) for label in ("L2_CNN1_DNN1", "L5_CNN1_DNN1_beta2")]
    images, paths = images[:250], [tmp_path / str(spec) for spec, _ in members]
    whole = schedule.train_together(members, images, recipes, CPU)
    kept = {member: Progress(path, {}) for member, path in zip(members, paths, strict=True)}
    last = {members[-1]: Fragile(paths[-1], {})}
    with pytest.raises(Killed):
        schedule.train_together(members, images, recipes, CPU, kept | last)
    resumed = schedule.train_together(members, images, recipes, CPU, kept)
    for before, after in zip(whole, resumed, strict=True):
        assert same(before.model, after.model)
        assert [epoch["loss"] for epoch in before.history] == [epoch["loss"] for epoch in after.history]


def test_the_scale_of_the_clip_is_that_of_what_is_minimised(recipe):
    clipped = of(recipe, training={"gradient_clip": 5.0})
    assert clipped.largest_gradient(prod((28, 28))) == 5
    assert of(clipped, objective={"reduction": "mean"}).largest_gradient(100) == pytest.approx(0.05)
    assert recipe.largest_gradient(100) is None
