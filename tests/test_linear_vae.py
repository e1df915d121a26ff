"""The theory of the linear VAE, against one that is optimised."""

import numpy as np
import pytest
import torch

from vae.measures import linear_vae
from vae.training.objective import kld


def test_the_spectrum_of_a_gaussian_likelihood_is_that_of_pca():
    rng = np.random.default_rng(0)
    images = rng.normal(128, [40, 20, 10], size=(20_000, 3)).clip(0, 255).astype(np.uint8)
    spectrum = linear_vae.spectrum(images, "gaussian", 0.1)
    assert spectrum == pytest.approx((np.array([40, 20, 10]) / 255 / 0.1) ** 2, rel=0.05)


def test_independent_black_and_white_pixels_have_variances_of_one_under_bernoulli():
    """Each pixel's variance is m (1 - m), the very noise; pixels that never vary carry nothing."""
    rng = np.random.default_rng(0)
    images = (rng.random((50_000, 5)) < [0.5, 0.1, 0.01, 0, 1]).astype(np.uint8) * 255
    assert linear_vae.spectrum(images, "bernoulli", 0.1) == pytest.approx([1, 1, 1], abs=0.02)


def test_copies_of_a_pixel_are_one_direction_of_their_number():
    pixel = (np.random.default_rng(0).random((10_000, 1)) < 0.3).astype(np.uint8) * 255
    spectrum = linear_vae.spectrum(pixel.repeat(6, 1).reshape(-1, 2, 3), "bernoulli", 0.1)
    assert spectrum == pytest.approx([6, 0, 0, 0, 0, 0], abs=1e-3)


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_a_linear_vae_has_the_kld_that_the_theory_says(beta):
    """Gradient descent on the exact beta-ELBO of a linear VAE: sizes, and which dimensions collapse."""
    variances, sigma = torch.tensor([9.0, 3.0, 1.5, 0.5], dtype=torch.double), 0.7
    generator = torch.Generator().manual_seed(0)
    encoder = (0.3 * torch.randn(4, 4, generator=generator, dtype=torch.double)).requires_grad_()
    decoder = (0.3 * torch.randn(4, 4, generator=generator, dtype=torch.double)).requires_grad_()
    log_variance = torch.zeros(4, dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.Adam([encoder, decoder, log_variance], lr=0.02)
    covariance = torch.diag(variances)
    for _ in range(4000):
        left = torch.eye(4, dtype=torch.double) - decoder @ encoder
        error = (left @ covariance @ left.T).trace() + (decoder.square() * log_variance.exp()).sum()
        squares = (encoder @ covariance @ encoder.T).diagonal()
        divergence = (squares + log_variance.exp() - 1 - log_variance) / 2
        loss = error / (2 * sigma**2) + beta * divergence.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    theory = linear_vae.kld_per_dimension((variances / sigma**2).numpy(), beta, 4)
    assert np.sort(divergence.detach())[::-1] == pytest.approx(theory, abs=0.01)
    assert (theory > 0).sum() == {1.0: 4, 4.0: 2}[beta]


def test_the_kld_of_the_theory_is_that_of_the_objective():
    """Of a code with variance s² whose means vary by 1 - s², as at the optimum."""
    share = 0.2  # beta over the direction's variance
    means = torch.tensor([1.0, -1.0]).mul((1 - share) ** 0.5)[:, None]
    divergence = kld(means, torch.full((2, 1), np.log(share))).mean()
    assert divergence.item() == pytest.approx(linear_vae.kld_per_dimension(np.array([1 / share]), 1.0, 1)[0], rel=1e-5)


def test_sizes_beyond_the_spectrum_are_collapsed_and_beta_zero_is_infinite():
    assert linear_vae.kld_per_dimension(np.array([9.0, 1.0]), 3.0, 4).tolist() == [
        pytest.approx(np.log(3) / 2),
        0,
        0,
        0,
    ]
    assert linear_vae.kld_per_dimension(np.array([9.0, 0.0]), 0.0, 3).tolist() == [np.inf, 0, 0]
