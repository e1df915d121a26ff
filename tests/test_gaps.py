"""The gaps of inference, against what is known of the linear VAE."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from vae import seeds
from vae.cli import main
from vae.data import dataset
from vae.data.sprites import SPRITES
from vae.grid import Spec
from vae.measures import gaps, losses
from vae.measures.gaps import Inference
from vae.models.networks import Networks
from vae.models.vae import as_inputs, build
from vae.training import checkpoint, loop
from vae.training.objective import Objective

LATENT, PIXELS, IMAGES, NOISE = 3, 16, 6, 0.15


class Gaussian:
    """A likelihood whose mean the decoder's outputs are."""

    def reconstruction(self, outputs, images):
        nats = ((images - outputs) / NOISE).square() / 2 + np.log(NOISE) + np.log(2 * np.pi) / 2
        return nats.flatten(-3).sum(-1)


class LinearVAE(nn.Module):
    """A decoder W z + b, and the posterior of each image, with its mean moved by `shift` and its variance by `spread`.

    At another weight of the KLD, the posterior is that of a likelihood with `beta` times the variance.
    """

    def __init__(self, weight, bias, beta=1.0, shift=0.0, spread=1.0):
        super().__init__()
        self.weight, self.bias = weight.float(), bias.float()
        self.precision = torch.eye(LATENT).double() + weight.T @ weight / (beta * NOISE**2)
        self.beta, self.shift, self.spread = beta, shift, spread
        self.decoder = lambda codes: (codes @ self.weight.T + self.bias).unflatten(-1, (1, 4, 4))
        self.register_parameter("device_of", nn.Parameter(torch.zeros(())))

    def encoder(self, inputs):
        residual = inputs.flatten(1).double() - self.bias.double()
        mean = torch.linalg.solve(self.precision, (self.weight.T.double() @ residual.T) / (self.beta * NOISE**2)).T
        variance = self.spread / self.precision.diag()
        return (mean + self.shift).float(), variance.log().float().expand(len(inputs), -1)


@pytest.fixture(scope="module")
def linear():
    """A decoder, images that it draws, and log p(x) of each."""
    rng = torch.Generator().manual_seed(0)
    weight, bias = 0.12 * torch.randn(PIXELS, LATENT, generator=rng).double(), torch.full((PIXELS,), 0.5).double()
    images = weight @ torch.randn(LATENT, IMAGES, generator=rng).double() + bias[:, None]
    images = (images + NOISE * torch.randn(PIXELS, IMAGES, generator=rng)).T.reshape(IMAGES, 4, 4)
    images = (255 * images).clamp(0, 255).to(torch.uint8)
    return weight, bias, images


def evidence(weight, bias, images, beta):
    """beta log ∫ p(z) p(x|z)^(1/beta) dz; log p(x) at 1."""
    x = images.flatten(1).double() / 255 - bias
    wide = beta * NOISE**2
    marginal = torch.distributions.MultivariateNormal(
        torch.zeros(PIXELS).double(), weight @ weight.T + wide * torch.eye(PIXELS).double()
    )
    constant = PIXELS * (-np.log(2 * np.pi * NOISE**2) / 2 + beta * np.log(2 * np.pi * wide) / 2)
    return beta * marginal.log_prob(x) + constant


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_both_gaps_of_a_linear_decoder_are_those_in_closed_form(linear, beta):
    weight, bias, images = linear
    shift, spread = 0.4, 1.7
    model = LinearVAE(weight, bias, beta, shift, spread)
    precision = model.precision
    of = Inference(model, Gaussian(), beta, seed=0).gaps(images)
    torch.testing.assert_close(of.evidence, evidence(weight, bias, images, beta), atol=0.1 * beta, rtol=0)
    approximation = beta * (precision.diag().log().sum() - precision.logdet()) / 2
    assert of.approximation.mean().item() == pytest.approx(approximation.item(), abs=0.05 * beta)
    moved = torch.full((LATENT,), shift).double()
    wanted = beta * (moved @ precision @ moved + LATENT * (spread - 1 - np.log(spread))) / 2
    assert of.amortisation.mean().item() == pytest.approx(wanted.item(), rel=0.05)
    torch.testing.assert_close(of.approximation + of.amortisation, of.evidence - of.reached)


def test_an_encoder_that_answers_the_best_gaussian_has_no_amortisation_gap(linear):
    weight, bias, images = linear
    of = Inference(LinearVAE(weight, bias), Gaussian(), 1.0, seed=0).gaps(images)
    assert of.amortisation.abs().max() < 0.03
    assert (of.approximation > -0.05).all()
    assert of.effective.min() > gaps.IMPORTANCE / 10


@pytest.mark.parametrize("beta", [1.0, 3.0])
def test_the_evidence_of_a_network_is_that_of_quadrature(beta):
    """Independent of any q: the integral over two latent dimensions, on a grid that is fine against the posterior."""
    widths = Networks(hidden_units=20, base_channels=2, initialisation="he")
    model = build(Spec.parse("L2_DNN2_DNN2"), (4, 4), widths, seed=0)
    torch.nn.init.normal_(model.decoder[-2].weight, 0, 0.7, generator=torch.Generator().manual_seed(0))
    images = torch.randint(0, 256, (5, 4, 4), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    objective, ticks = Objective("bernoulli", 0.1, beta, "sum"), torch.linspace(-6, 6, 401)
    codes = torch.cartesian_prod(ticks, ticks)
    with torch.no_grad():
        nats = torch.stack([objective.reconstruction(model.decoder(codes), as_inputs(image[None])) for image in images])
    prior = -codes.square().sum(1) / 2 - np.log(2 * np.pi)
    inside = prior + 2 * (ticks[1] - ticks[0]).log() - nats / beta
    of = Inference(model, objective, beta, seed=0).gaps(images)
    torch.testing.assert_close(of.evidence, beta * inside.double().logsumexp(1), atol=0.03 * beta, rtol=0)
    assert (of.approximation > -0.05 * beta).all()
    assert (of.amortisation > 0).all()


def test_the_summary_has_means_errors_and_what_test_images_lose_more():
    test, train = (gaps.Gaps(*torch.tensor(values).double()) for values in (
        [[-9, -7], [-10, -9], [-14, -11], [50, 70]], [[-9, -7], [-10, -8], [-12, -9], [9, 9]],
    ))  # fmt: skip
    numbers = gaps.summary(test, train)
    assert (numbers["log_evidence"], numbers["approximation_gap"], numbers["amortisation_gap"]) == (-8, 1.5, 3)
    assert numbers["amortisation_gap_error"] == pytest.approx(np.std([4, 2], ddof=1) / np.sqrt(2))
    assert (numbers["train_amortisation_gap"], numbers["generalisation_gap"]) == (1.5, 1.5)
    assert numbers["generalisation_gap_error"] == pytest.approx(np.hypot(1, 0.5))
    assert numbers["effective_codes"] == 60
    assert set(gaps.NONE) == set(numbers)


def test_the_misfit_of_sprites_is_what_the_decoder_lacks_of_the_truth(tmp_path, recipe):
    drawn = SPRITES["sprites"].arrays()
    some = {name: array[: 200 if name.startswith("train") else 50] for name, array in drawn.items()}
    data = dataset.split(dataset.Dataset.of("sprites", "generated", some), 20)
    dataset.save(data, tmp_path / "dataset.npz")
    spec, folder = Spec.parse("L2_DNN1_DNN1"), tmp_path / "L2_DNN1_DNN1/seed0"
    trained = loop.train(spec, 0, torch.from_numpy(data.train_images), recipe, torch.device("cpu"))
    facts = json.loads((tmp_path / "dataset.json").read_text())
    measured = losses.measure(spec, 0, trained, losses.Sets(data), recipe)
    checkpoint.save(folder, trained, measured, recipe, facts)
    assert main(["gaps", "--dataset", str(tmp_path / "dataset.npz"), "--images", "8", str(folder)]) == 0
    numbers = json.loads((folder / "gaps.json").read_text())
    truth = SPRITES["sprites"].log_probabilities(data.test_images[np.sort(seeds.draw(50, 8))]).mean()
    assert numbers["misfit"] == pytest.approx(truth - numbers["log_evidence"])
    assert numbers["misfit"] > 10  # of a decoder that is hardly trained


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("metrics.json", '"ok"', '"diverged"', "the model diverged"),
        ("provenance.json", '"beta": 1.0', '"beta": 0', "beta is 0"),
    ],
)
def test_a_model_without_gaps_has_none_and_says_why(colour, tmp_path, file, old, new, reason):
    folder = tmp_path / "L3_CNN5_DNN1/seed0"
    shutil.copytree(colour / "results/models/L3_CNN5_DNN1/seed0", folder)
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    assert main(["gaps", "--dataset", str(colour / "dataset.npz"), "--images", "2", str(folder)]) == 0
    numbers = json.loads((folder / "gaps.json").read_text())
    assert numbers["reason"].startswith(reason)
    assert [numbers[name] for name in gaps.NONE] == [None] * len(gaps.NONE)


@pytest.mark.slow
def test_models_that_a_sweep_adds_have_no_gaps(colour, tmp_path):
    """They are many, and what their gaps cost is more than their training."""
    folder = tmp_path / "L3_CNN5_DNN1_beta2/seed0"
    shutil.copytree(colour / "results/models/L3_CNN5_DNN1/seed0", folder)
    assert main(["gaps", "--dataset", str(colour / "dataset.npz"), "--images", "2", str(folder)]) == 0
    assert json.loads((folder / "gaps.json").read_text())["reason"].startswith("a sweep adds this model")


@pytest.mark.slow
def test_more_images_than_there_are_are_refused(colour, tmp_path, capsys):
    folder = colour / "results/models/L3_CNN5_DNN1/seed0"
    assert main(["gaps", "--dataset", str(colour / "dataset.npz"), "--images", "31", str(folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "vae: ERROR: evaluation.gap_images: 31 are asked for, there are 30 test images"
    assert not (folder / "gaps.json").exists()
