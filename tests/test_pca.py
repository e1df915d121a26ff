import numpy as np
import pytest

from vae.measures.codes.pca import project


def test_the_components_are_those_of_pca():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    scales = np.array([5, 3, 1, 0.5, 0.2, 0.1])
    means = (rng.normal(size=(5000, 6)) * scales @ basis + 7).astype(np.float32)
    (components, centre, axes), ratio = project(means)
    assert components.shape == (5000, 2)
    np.testing.assert_allclose((means - centre) @ axes.T, components, atol=1e-4)
    assert ratio == pytest.approx(scales**2 / (scales**2).sum(), rel=0.1)
    assert components.var(0) == pytest.approx([25, 9], rel=0.1)
    assert np.abs((means - means.mean(0)) @ basis[0] @ components[:, 0]) > 0.99 * np.square(components[:, 0]).sum()


def test_codes_that_cannot_be_projected():
    column = np.arange(5, dtype=np.float32)[:, None]
    (components, centre, axes), ratio = project(column)
    assert components[:, 1].tolist() == [0] * 5
    np.testing.assert_allclose((column - centre) @ axes.T, components, atol=1e-6)
    assert ratio == pytest.approx([1])
    for means in (np.ones((5, 3), np.float32), np.full((5, 3), np.nan, np.float32)):
        plane, ratio = project(means)
        assert not plane.components.any()
        assert (plane.centre.shape, plane.axes.shape) == ((3,), (2, 3))
        assert ratio.size == 0


def test_means_that_hardly_vary_are_projected_as_well_as_any():
    """A collapsed model's: constant but for the last bit of a float, far from zero."""
    means = np.full((500, 25), 0.3, np.float32)
    means[::2, 3] = np.nextafter(np.float32(0.3), np.float32(1))
    (components, *_), ratio = project(means)
    assert ratio[0] == pytest.approx(1)
    assert len(np.unique(components[:, 0])) == 2
