"""The losses of a trained model on the test set, and that of the constant decoder."""

from dataclasses import replace

import pytest
import torch

from vae.grid import Spec
from vae.measures import losses
from vae.training import loop
from vae.training.objective import Objective

CPU = torch.device("cpu")


def test_a_collapsed_model_reconstructs_the_mean_image(images, test_images, recipe):
    """Where the KLD weighs enough to empty the code, the best answer left is the mean image, and training finds it."""
    training = replace(recipe.training, epochs=20, learning_rate=0.005)
    recipe = replace(recipe, training=training)
    collapsing = replace(recipe, objective=replace(recipe.objective, beta=1e4))
    model = loop.train(Spec.parse("L4_DNN1_DNN1"), 0, images, collapsing, CPU).model
    metrics = losses.evaluate(model, test_images, recipe.objective, 0)
    baseline = losses.constant_decoder(images, test_images, recipe.objective)
    assert metrics["kld"] < 0.01
    assert metrics["reconstruction"] == pytest.approx(baseline, rel=0.01)
    open_code = loop.train(Spec.parse("L4_DNN1_DNN1"), 0, images, recipe, CPU).model
    assert losses.evaluate(open_code, test_images, recipe.objective, 0)["reconstruction"] < 0.9 * baseline


def test_the_mean_image_against_its_definition(images, test_images):
    grey = images.double().mean(0).div(255).clamp(1e-6, 1 - 1e-6)
    x = test_images.double() / 255
    wanted = -(x * grey.log() + (1 - x) * (1 - grey).log()).flatten(1).sum(1).mean()
    loss = losses.constant_decoder(images, test_images, Objective("bernoulli", 0.1, 1.0, "sum"))
    assert loss == pytest.approx(wanted.item(), rel=1e-7)


def test_evaluation_counts_every_image_once_and_repeats_itself(images, test_images, recipe, monkeypatch):
    model = loop.train(Spec.parse("L4_DNN1_DNN1"), 0, images[:500], recipe, CPU).model
    metrics = losses.evaluate(model, test_images, recipe.objective, 1)
    assert metrics == losses.evaluate(model, test_images, recipe.objective, 1)
    assert metrics["elbo"] == pytest.approx(-metrics["reconstruction"] - metrics["kld"])
    assert metrics["kld"] == pytest.approx(sum(metrics["kld_per_dimension"]))
    assert metrics["reconstruction_per_pixel"] == pytest.approx(metrics["reconstruction"] / 784)
    monkeypatch.setattr(losses, "BATCH", 130)
    batched = losses.evaluate(model, test_images, recipe.objective, 1)
    assert batched["mean_variance_per_dimension"] == pytest.approx(metrics["mean_variance_per_dimension"], rel=1e-4)


def test_a_model_is_measured_as_it_is_exported(test_images, recipe):
    """Dropout is off, and the statistics of a batch norm do not move."""
    model = loop.build(Spec.parse("L4_DNN1_DNN1"), (28, 28), recipe.networks, 0)
    model.decoder = torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.9), model.decoder)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, second = (losses.evaluate(model, test_images, recipe.objective, 0) for _ in range(2))
    assert first == second
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_model_too_large_to_compute_with_has_diverged(images, divided, recipe):
    spec, sets = Spec.parse("L4_DNN1_DNN1"), losses.Sets(divided)
    trained = loop.train(spec, 0, images[:500], recipe, CPU)
    metrics = losses.measure(spec, 0, trained, sets, recipe)
    assert metrics["status"] == "ok"
    assert losses.minimised(metrics, recipe.objective, 784, 4) == pytest.approx(-metrics["elbo"])  # beta is 1
    with torch.no_grad():
        trained.model.encoder.heads.bias.fill_(1e38)
    metrics = losses.measure(spec, 0, trained, sets, recipe)
    assert metrics["status"] == "diverged"
    assert metrics["elbo"] is None
    assert losses.minimised(metrics, recipe.objective, 784, 4) is None
