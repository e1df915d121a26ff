import numpy as np
import pytest

from vae.projection import project, separability


def test_the_components_are_those_of_pca():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    scales = np.array([5, 3, 1, 0.5, 0.2, 0.1])
    means = (rng.normal(size=(5000, 6)) * scales @ basis + 7).astype(np.float32)
    components, ratio = project(means)
    assert components.shape == (5000, 2)
    assert ratio == pytest.approx(scales**2 / (scales**2).sum(), rel=0.1)
    assert components.var(0) == pytest.approx([25, 9], rel=0.1)
    assert np.abs((means - means.mean(0)) @ basis[0] @ components[:, 0]) > 0.99 * np.square(components[:, 0]).sum()


def test_codes_that_cannot_be_projected():
    one = np.arange(5, dtype=np.float32)[:, None]
    components, ratio = project(one)
    assert components[:, 1].tolist() == [0] * 5
    assert ratio == pytest.approx([1])
    for means in (np.ones((5, 3), np.float32), np.full((5, 3), np.nan, np.float32)):
        components, ratio = project(means)
        assert not components.any()
        assert ratio.size == 0


def test_means_that_hardly_vary_are_projected_as_well_as_any():
    """A collapsed model's: constant but for the last bit of a float, far from zero."""
    means = np.full((500, 25), 0.3, np.float32)
    means[::2, 3] = np.nextafter(np.float32(0.3), np.float32(1))
    components, ratio = project(means)
    assert ratio[0] == pytest.approx(1)
    assert len(np.unique(components[:, 0])) == 2


def test_separability_does_not_depend_on_the_order_of_the_classes():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 100)
    means = rng.normal(size=(400, 3)) + 100 * np.eye(4)[labels][:, :3]
    few = separability(means, labels, 80)  # the first 80 are all of one class
    assert few["silhouette"] > 0.9
    assert few["knn_accuracy"] == 1


def test_classes_far_apart_are_separable_and_mixed_ones_are_not():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 50)
    noise = rng.normal(size=(200, 3))
    apart, mixed = separability(noise + 100 * np.eye(4)[labels][:, :3], labels), separability(noise, labels)
    assert apart["silhouette"] > 0.9
    assert apart["knn_accuracy"] == 1
    assert mixed["silhouette"] < 0.05
    assert mixed["knn_accuracy"] < 0.45


@pytest.mark.parametrize("labels", [None, np.zeros(10, int), np.arange(10)])
def test_what_cannot_be_had_is_none(labels):
    means = np.random.default_rng(0).normal(size=(10, 2))
    assert separability(means, labels) == {"silhouette": None, "knn_accuracy": None}


def test_classes_too_small_for_the_folds_still_have_a_silhouette():
    numbers = separability(np.random.default_rng(0).normal(size=(10, 2)), np.arange(10) // 2)
    assert numbers["knn_accuracy"] is None
    assert -1 <= numbers["silhouette"] <= 1
