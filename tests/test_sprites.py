"""Images whose distribution is known, against what can be counted by hand or by brute force."""

from itertools import product
from math import e, log, pi, sqrt

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm
from torch import nn

from vae.data import dataset, source, sprites
from vae.data.sprites import FLIPPED, SPRITES, Sprites
from vae.errors import UserError
from vae.measures import baselines, losses
from vae.training.objective import Objective

TINY = np.array([[0, 0, 0, 1], [0, 1, 1, 1], [1, 1, 0, 0]], bool)


@pytest.fixture
def tiny():
    """Three templates of 2×2 pixels."""
    few = Sprites(2)
    few.__dict__["distinct"] = (TINY, np.arange(15).reshape(3, 5))
    return few


def brute_force(pixels):
    """log p*(x), from the product of the probabilities of its pixels."""
    of_templates = [np.prod(np.where(template == pixels, 1 - FLIPPED, FLIPPED)) for template in TINY]
    return log(np.mean(of_templates))


def every_image():
    return np.array(list(product((0, 1), repeat=4)), np.uint8)


def test_log_probabilities_are_those_of_brute_force(tiny):
    images = every_image()
    values = tiny.log_probabilities((255 * images).reshape(-1, 2, 2))
    np.testing.assert_allclose(values, [brute_force(image.astype(bool)) for image in images], rtol=1e-12)
    assert logsumexp(values) == pytest.approx(0, abs=1e-12)  # of all images there are


def test_the_entropy_is_that_of_all_images(tiny):
    images = every_image()
    values = tiny.log_probabilities((255 * images).reshape(-1, 2, 2))
    exact = -(np.exp(values) * values).sum()
    drawn, _ = tiny.draw(20_000, np.random.default_rng(0))
    entropy, error = tiny.entropy(drawn)
    assert abs(entropy - exact) < 4 * error
    assert error < 0.01


@pytest.mark.parametrize(("name", "count"), [("sprites", 2000), ("sprites_rgb", 300)])
def test_the_entropy_is_the_mean_of_minus_log_p(name, count):
    kind = SPRITES[name]
    images, _ = kind.draw(count, np.random.default_rng(1))
    losses = -kind.log_probabilities(images)
    entropy, error = kind.entropy(images)
    assert abs(entropy - losses.mean()) < 4 * losses.std() / np.sqrt(len(losses))
    assert error < 0.02


class Lookup(nn.Module):
    """A code of one dimension: each template has a part of it, as likely under the prior as any other.

    The posterior of an image stands in the middle of its template's part, so many times narrower than that.
    """

    latent_size = 1

    def __init__(self, kind, narrower):
        super().__init__()
        self.kind, (self.templates, _) = kind, kind.distinct
        edges = norm.ppf(np.linspace(1e-6, 1 - 1e-6, len(self.templates) + 1))
        self.edges = nn.Parameter(torch.tensor(edges))
        self.means = torch.tensor((edges[1:] + edges[:-1]) / 2)
        self.log_variances = torch.tensor(2 * np.log(np.diff(edges) / narrower))

    def forward(self, inputs, noise):
        nearest = self.kind.log_likelihoods((inputs.numpy() * 255).astype(np.uint8)).argmax(1)
        mean, log_variance = self.means[nearest, None], self.log_variances[nearest, None]
        codes = mean + (log_variance / 2).exp() * noise
        chosen = torch.bucketize(codes[:, 0], self.edges[1:-1])
        whites = torch.tensor(self.templates[chosen.numpy()]).reshape(inputs.shape)
        return mean, log_variance, (whites * 2 - 1) * log((1 - FLIPPED) / FLIPPED)


def test_rate_and_distortion_never_cross_their_floor_and_a_lookup_of_the_templates_comes_near_it():
    """D + R is at least the entropy of the images, whatever the model (Alemi et al. 2018)."""
    kind = SPRITES["sprites"]
    images, _ = kind.draw(2000, np.random.default_rng(1))
    # On the same images, so that how many pixels are flipped in them is of no account.
    floor, above = -kind.log_probabilities(images).mean(), []
    for narrower in (1, 2, 4, 8, 20, 100):
        found = losses.evaluate(
            Lookup(kind, narrower), torch.tensor(images), Objective("bernoulli", 0.1, 1.0, "sum"), 0
        )
        above.append(found["reconstruction"] + found["kld"] - floor)
    assert min(above) > 0.1
    # A Gaussian in a part of equal likelihood costs log(narrower / √2πe) more than to name the part.
    assert above[-1] == pytest.approx(log(100 / sqrt(2 * pi * e)), abs=0.1)
    assert min(above) < 1


@pytest.mark.parametrize(("name", "shape", "factors"), [
    ("sprites", (16, 16), 5), ("sprites32", (32, 32), 5), ("sprites_rgb", (3, 16, 16), 6),
])  # fmt: skip
def test_templates_are_distinct_and_images_are_templates_with_flipped_pixels(name, shape, factors):
    templates, values = SPRITES[name].distinct
    assert len(np.unique(templates, axis=0)) == len(templates) == len(values) > 2000
    assert len(np.unique(values, axis=0)) == len(values)
    assert values.shape[1] == factors == len(SPRITES[name].factors)
    assert templates.any(1).all()
    images, drawn = SPRITES[name].draw(500, np.random.default_rng(0))
    assert images.shape == (500, *shape)
    assert np.unique(images).tolist() == [0, 255]
    places = {tuple(value): place for place, value in enumerate(values.tolist())}
    flipped = (images.reshape(500, -1) > 0) != templates[[places[tuple(value)] for value in drawn.tolist()]]
    assert flipped.mean() == pytest.approx(FLIPPED, rel=0.05)


def test_factors_move_what_their_names_say():
    templates, values = SPRITES["sprites"].distinct
    masks = templates.reshape(-1, 16, 16)
    columns, rows = (np.array([np.nonzero(mask)[axis].mean() for mask in masks]) for axis in (1, 0))
    for name, centres in (("column", columns), ("row", rows)):
        place = sprites.FACTORS.index(name)
        means = [centres[values[:, place] == value].mean() for value in range(6)]
        np.testing.assert_allclose(np.diff(means), 1, atol=0.1)
    sizes = [masks[values[:, 1] == size].sum((1, 2)).mean() for size in range(3)]
    assert sizes[0] < sizes[1] < sizes[2]


def test_sprites_are_a_dataset_that_is_always_the_same():
    loaded = source.load({"name": "sprites", "path": None, "validation_images": 100})
    assert loaded.sha256 == "0c5ee606df1b7aef3468f14cff897beec0e062611f8f947272f2e3cb15cd90b3"
    shape, test_images = source.extent({"name": "sprites", "path": None, "validation_images": 100})
    assert shape == loaded.train_images.shape
    assert test_images == len(loaded.test_images)
    for part in ("train", "validation", "test"):
        images, factors = getattr(loaded, f"{part}_images"), getattr(loaded, f"{part}_factors")
        assert len(images) == len(factors)
        np.testing.assert_array_equal(getattr(loaded, f"{part}_labels"), factors[:, 0])
    truth = baselines.truth(loaded)
    assert truth["entropy"] == pytest.approx(32.79, abs=0.01)
    assert truth["true_log_likelihood"] == pytest.approx(-truth["entropy"], abs=0.5)


def test_sprites_have_no_path():
    with pytest.raises(UserError, match="is data of your own"):
        source.load({"name": "sprites32", "path": "own.npz"})


def test_factors_of_ones_own_are_split_and_read_back(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 4, 4), np.uint8)
    factors = np.stack([np.arange(30), images[:, 0, 0]], 1)
    np.savez(tmp_path / "own.npz", train_images=images[:20], test_images=images[20:], train_factors=factors[:20],
             test_factors=factors[20:])  # fmt: skip
    loaded = source.load({"name": "own", "path": str(tmp_path / "own.npz"), "validation_images": 5})
    assert (len(loaded.train_factors), len(loaded.validation_factors)) == (15, 5)
    for part in ("train", "validation", "test"):
        given, images = getattr(loaded, f"{part}_factors"), getattr(loaded, f"{part}_images")
        np.testing.assert_array_equal(given[:, 1], images[:, 0, 0])
    dataset.save(loaded, tmp_path / "dataset.npz")
    again = dataset.load(tmp_path / "dataset.npz")
    assert again.sha256 == loaded.sha256
    np.testing.assert_array_equal(again.validation_factors, loaded.validation_factors)


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"train_factors": np.zeros((20, 2), int)}, "there are train factors but no test factors"),
        ({"train_factors": np.zeros(20, int), "test_factors": np.zeros(10, int)}, r"not int64 \[20\]"),
        ({"train_factors": np.zeros((19, 2), int), "test_factors": np.zeros((10, 2), int)}, "19 factors for 20 images"),
        ({"train_factors": np.zeros((20, 2), int), "test_factors": np.zeros((10, 3), int)}, "have 3 factors"),
        ({"train_factors": np.zeros((20, 2)), "test_factors": np.zeros((10, 2))}, "not float64"),
    ],
)
def test_factors_that_do_not_fit_are_refused(tmp_path, factors, message):
    images = np.zeros((30, 4, 4), np.uint8)
    np.savez(tmp_path / "own.npz", train_images=images[:20], test_images=images[20:], **factors)
    with pytest.raises(UserError, match=message):
        source.load({"name": "own", "path": str(tmp_path / "own.npz")})
