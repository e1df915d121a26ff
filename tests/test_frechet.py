"""The FID-style distance, and the classifier in whose features it is taken."""

import numpy as np
import pytest
import torch

from export.graphs import export_features
from export.runtime import open_session, run
from vae.measures import classifier, frechet
from vae.measures.frechet import Moments, distance


def test_the_distance_of_two_known_gaussians():
    """With covariances that commute it is |m - n|² + Σ (√c - √d)² over their eigenvalues."""
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    first, second = np.array([1.0, 4.0, 9.0]), np.array([4.0, 4.0, 1.0])
    centred = Moments(np.zeros(3), turn * first @ turn.T)
    shifted = Moments(np.array([1.0, 2.0, 2.0]), turn * second @ turn.T)
    assert distance(centred, shifted) == pytest.approx(9 + 1 + 0 + 4)


def test_the_distance_of_two_known_gaussians_that_do_not_commute():
    """In two dimensions tr (C D)^½ = √(tr C D + 2 √(det C det D))."""
    first, second = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[1.0, -0.5], [-0.5, 2.0]])
    root = np.sqrt(np.trace(first @ second) + 2 * np.sqrt(np.linalg.det(first) * np.linalg.det(second)))
    zero = np.zeros(2)
    assert distance(Moments(zero, first), Moments(zero, second)) == pytest.approx(8 - 2 * root)
    assert distance(Moments(zero, first), Moments(zero, first)) == pytest.approx(0, abs=1e-9)


def test_samples_come_near_the_distance_of_what_they_are_drawn_from():
    rng = np.random.default_rng(0)
    drawn = (frechet.moments(rng.normal(mean, 2, size=(50_000, 4))) for mean in (0, 1))
    (first, second) = drawn
    assert distance(first, second) == pytest.approx(4, rel=0.05)


def test_identical_images_have_no_spread():
    identical = frechet.moments(np.ones((5, 3)))
    assert not identical.covariance.any()
    varied = Moments(identical.mean, np.diag([1.0, 2.0, 3.0]))
    assert distance(identical, varied) == pytest.approx(6)


def test_a_single_image_is_a_point():
    """The distance to one of variance v around another mean is |m - n|² + v."""
    point = frechet.moments(np.array([[1.0, 2.0]]))
    spread = Moments(np.array([1.0, 5.0]), np.diag([2.0, 3.0]))
    assert distance(point, spread) == distance(spread, point) == pytest.approx(9 + 5)


@pytest.fixture(scope="module")
def trained(sample):
    return classifier.train(np.array(sample.train_images), sample.train_labels)


def test_the_classifier_learns_and_floor_and_ceiling_are_apart(trained, sample):
    assert classifier.accuracy(trained, np.array(sample.test_images), sample.test_labels) > 0.8
    images = (sample.test_images, sample.train_images[:500], np.array(sample.test_images[:1]).repeat(2, 0))
    test, train, single = (frechet.moments(classifier.features(trained, np.array(part))) for part in images)
    assert distance(train, test) < 0.2 * distance(single, test)


def test_labels_need_not_count_from_zero(sample):
    some = np.isin(sample.train_labels, [3, 7])
    trained = classifier.train(np.array(sample.train_images[some]), sample.train_labels[some] * 100)
    some = np.isin(sample.test_labels, [3, 7])
    assert classifier.accuracy(trained, np.array(sample.test_images[some]), sample.test_labels[some] * 100) > 0.9


def test_the_same_features_come_out_of_the_exported_graph(trained, sample):
    images = np.array(sample.test_images)
    (features,) = run(open_session(export_features(trained.features, images), 1), images)
    np.testing.assert_allclose(features, classifier.features(trained, images), rtol=1e-3, atol=1e-4)
    assert features.shape == (500, classifier.FEATURES)


def test_training_leaves_the_generator_alone(sample):
    before = torch.get_rng_state()
    classifier.train(np.array(sample.train_images[:50]), sample.train_labels[:50])
    assert torch.equal(before, torch.get_rng_state())
