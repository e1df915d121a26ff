"""What is read off codes by probes."""

import numpy as np

from vae.measures.codes import probes
from vae.measures.latents import Latents


def codes(labels, distance, seed, size=3):
    """Gaussian codes whose classes lie `distance` apart."""
    noise = np.random.default_rng(seed).normal(size=(len(labels), size))
    return noise + distance * np.eye(4)[labels][:, :size]


LABELS = np.repeat(np.arange(4), 50)


def test_classes_far_apart_are_separable_and_mixed_ones_are_not():
    apart, mixed = (
        probes.classes(codes(LABELS, distance, 0), LABELS, codes(LABELS, distance, 1), LABELS) for distance in (100, 0)
    )
    assert apart["probe_accuracy"] == apart["knn_accuracy"] == 1
    assert apart["silhouette"] > 0.9
    assert max(mixed["probe_accuracy"], mixed["knn_accuracy"]) < 0.45
    assert mixed["silhouette"] < 0.05


def test_nothing_is_fitted_on_what_is_scored():
    """Codes without any information of the class: by heart, the neighbours would know it."""
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(200, 2)), rng.normal(size=(200, 2))
    accuracies = probes.classes(train, LABELS, test, rng.permutation(LABELS))
    assert accuracies["knn_accuracy"] < 0.4
    assert probes.classes(test, LABELS, test, LABELS)["knn_accuracy"] > 0.4


def test_a_probe_is_linear_and_neighbours_are_not():
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 400)
    labels = np.tile([0, 1], 200)
    rings = np.stack([np.cos(angle), np.sin(angle)], 1) * (1 + 4 * labels[:, None])
    accuracies = probes.classes(rings[:200], labels[:200], rings[200:], labels[200:])
    assert accuracies["knn_accuracy"] == 1
    assert accuracies["probe_accuracy"] < 0.7


def test_what_cannot_be_computed_is_none():
    train = test = np.random.default_rng(0).normal(size=(10, 2))
    none = dict.fromkeys([*probes.ACCURACIES, "silhouette"])
    assert probes.classes(train, None, test, None) == none
    assert probes.classes(train * np.nan, LABELS[:10], test, LABELS[:10]) == none
    assert probes.classes(train, np.zeros(10), test, np.zeros(10)) == none
    one_each = probes.classes(train, np.arange(10), test, np.arange(10))
    assert one_each["silhouette"] is None
    assert one_each["probe_accuracy"] is not None


def test_a_drawn_code_says_no_more_than_its_noise_leaves():
    """Means that tell classes apart by a tenth of their noise; with as little noise, codes say what means do."""
    fit, test = (codes(LABELS, 1, seed, 4) * 0.01 + 0.1 * np.eye(4)[LABELS] for seed in (0, 1))

    def measured(log_variance):
        noise = np.full_like(fit, log_variance)
        return probes.measure(Latents(fit, noise, test, noise, np.arange(200), np.arange(200), LABELS, LABELS))

    noisy, exact = measured(0.0), measured(-30.0)
    assert noisy["probe_accuracy"] == exact["probe_accuracy"] > 0.9
    assert noisy["probe_accuracy_sampled"] < 0.45
    assert exact["probe_accuracy_sampled"] == exact["probe_accuracy"]
    assert noisy["knn_accuracy_sampled"] < 0.45 < 0.9 < exact["knn_accuracy_sampled"]
    assert "silhouette_sampled" not in noisy
