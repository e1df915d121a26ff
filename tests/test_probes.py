"""What is read off codes: by probes, and of what codes are held against."""

import numpy as np
import pytest
import torch

from vae import networks, probes, references, training
from vae.data import Dataset
from vae.grid import Network, Spec
from vae.networks import Widths


def codes(labels, distance, seed, size=3):
    """Gaussian codes whose classes lie `distance` apart."""
    noise = np.random.default_rng(seed).normal(size=(len(labels), size))
    return noise + distance * np.eye(4)[labels][:, :size]


LABELS = np.repeat(np.arange(4), 50)


def test_classes_far_apart_are_separable_and_mixed_ones_are_not():
    apart, mixed = (
        probes.measure(codes(LABELS, distance, 0), LABELS, codes(LABELS, distance, 1), LABELS) for distance in (100, 0)
    )
    assert apart["probe_accuracy"] == apart["knn_accuracy"] == 1
    assert apart["silhouette"] > 0.9
    assert max(mixed["probe_accuracy"], mixed["knn_accuracy"]) < 0.45
    assert mixed["silhouette"] < 0.05


def test_nothing_is_fitted_on_what_is_scored():
    """Codes without any information of the class: by heart, the neighbours would know it."""
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(200, 2)), rng.normal(size=(200, 2))
    found = probes.measure(train, LABELS, test, rng.permutation(LABELS))
    assert found["knn_accuracy"] < 0.4
    assert probes.measure(test, LABELS, test, LABELS)["knn_accuracy"] > 0.4


def test_a_probe_is_linear_and_neighbours_are_not():
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 400)
    labels = np.tile([0, 1], 200)
    rings = np.stack([np.cos(angle), np.sin(angle)], 1) * (1 + 4 * labels[:, None])
    found = probes.measure(rings[:200], labels[:200], rings[200:], labels[200:])
    assert found["knn_accuracy"] == 1
    assert found["probe_accuracy"] < 0.7


def test_what_cannot_be_had_is_none():
    train = test = np.random.default_rng(0).normal(size=(10, 2))
    none = dict.fromkeys(probes.NAMES)
    assert probes.measure(train, None, test, None) == none
    assert probes.measure(train * np.nan, LABELS[:10], test, LABELS[:10]) == none
    assert probes.measure(train, np.zeros(10), test, np.zeros(10)) == none
    one_each = probes.measure(train, np.arange(10), test, np.arange(10))
    assert one_each["silhouette"] is None
    assert one_each["probe_accuracy"] is not None


@pytest.fixture(scope="module")
def held(sample):
    return references.Held(sample, 400, 200)


def test_pixels_and_their_components_say_the_class(held):
    found = references.pixels(held, [1, 8, 2000])
    for measures in (found["pixels"], found["pca"]["8"]):
        assert measures["knn_accuracy"] > 0.7
        assert measures["probe_accuracy"] > 0.6
    assert found["pca"]["1"]["knn_accuracy"] < 0.5
    # All components are the pixels, turned: the neighbours are the same.
    assert found["pca"]["2000"]["knn_accuracy"] == pytest.approx(found["pixels"]["knn_accuracy"], abs=0.03)


def test_the_untrained_encoder_is_the_one_that_training_starts_from(held, recipe):
    spec, widths = Spec.parse("L4_CNN2_DNN1"), recipe.networks
    seed = training.streams(3, 3)[0]
    wanted = networks.build(spec, (28, 28), widths, seed).encoder.state_dict()
    found = references.initial(spec.encoder, 4, (1, 28, 28), widths, 3).state_dict()
    assert all(torch.equal(value, found[name]) for name, value in wanted.items())


def test_untrained_encoders_are_measured_for_every_size_and_seed(held):
    found = references.untrained(held, Network.parse("DNN1"), [2, 16], [0, 1], Widths(32, 2))
    assert found["2"]["0"] != found["2"]["1"]
    assert found["2"]["0"]["knn_accuracy"] < found["16"]["0"]["knn_accuracy"]


def test_models_of_binarised_images_are_held_against_binarised_images(sample):
    held = references.Held(Dataset("sample", "here", **sample.arrays, binarised=True), 50, 50)
    assert np.unique(held.train).tolist() == [0, 255]
