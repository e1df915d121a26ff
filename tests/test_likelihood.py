from math import log, pi
from types import SimpleNamespace

import pytest
import torch

from vae.measures import likelihood
from vae.models.vae import as_inputs

SIGMA = 0.3


class Linear(torch.nn.Module):
    """A linear Gaussian VAE, x = W z + offset + SIGMA · noise, of two dimensions, and its exact posterior.

    The columns of W are orthogonal, so that the posterior's covariance is diagonal, as an encoder's is. `wider` times
    the exact variance makes it another one.
    """

    def __init__(self, wider=1.0):
        super().__init__()
        self.w = torch.nn.Parameter(torch.linalg.qr(torch.randn(6, 2))[0] * torch.tensor([0.8, 0.4]))
        self.wider = wider

    def encoder(self, inputs):
        precision = self.w.square().sum(0) / SIGMA**2 + 1
        mean = (inputs.flatten(1) - 0.5) @ self.w / SIGMA**2 / precision
        return mean, (self.wider / precision).log().expand_as(mean)

    def decoder(self, codes):
        return (codes @ self.w.T + 0.5).unflatten(1, (1, 2, 3))

    def exact(self, inputs):
        """Mean log p(x) of probabilistic PCA (Tipping & Bishop 1999)."""
        covariance = self.w @ self.w.T + SIGMA**2 * torch.eye(6)
        normal = torch.distributions.MultivariateNormal(torch.full((6,), 0.5), covariance)
        return normal.log_prob(inputs.flatten(1)).mean().item()


def squares(logits, images):
    return (((images - logits) / SIGMA).square() / 2 + log(SIGMA) + log(2 * pi) / 2).flatten(1).sum(1)


OBJECTIVE = SimpleNamespace(reconstruction=squares)


@pytest.fixture
def pixels():
    torch.manual_seed(0)
    return torch.randint(0, 256, (40, 2, 3), dtype=torch.uint8)


def test_the_bound_of_a_linear_vae_is_the_likelihood_of_probabilistic_pca(pixels):
    """With the exact posterior every code has the same weight, so that one is enough."""
    model = Linear()
    for k in (1, 7):
        bound, error = likelihood.bound(likelihood.log_weights(model, pixels, OBJECTIVE, k, 0))
        assert bound == pytest.approx(model.exact(as_inputs(pixels)), abs=1e-4)
        assert error > 0.05


def test_the_bound_grows_with_k_to_the_likelihood(pixels):
    model = Linear(wider=3.0)
    weights = likelihood.log_weights(model, pixels, OBJECTIVE, 2000, 0)
    bounds = [likelihood.bound(weights[:, :k])[0] for k in (1, 3, 10, 2000)]
    assert bounds[:3] == sorted(bounds[:3])
    exact = model.exact(as_inputs(pixels))
    assert bounds[0] < exact - 0.3
    assert bounds[-1] == pytest.approx(exact, abs=0.02)


def test_memory_is_bounded_and_changes_nothing(pixels, monkeypatch):
    model, largest = Linear(), []
    decoder = model.decoder
    monkeypatch.setattr(model, "decoder", lambda codes: largest.append(len(codes)) or decoder(codes))
    wanted = likelihood.log_weights(model, pixels, OBJECTIVE, 25, 0)
    monkeypatch.setattr(likelihood, "ROWS", 10)
    log_weights = likelihood.log_weights(model, pixels, OBJECTIVE, 25, 0)
    assert largest[0] == 1000
    assert set(largest[1:]) == {10, 5}
    torch.testing.assert_close(log_weights, wanted, atol=1e-3, rtol=0)


def test_the_elbo_is_the_bound_at_one_and_a_diverged_model_has_none(pixels):
    model = Linear(wider=3.0)
    measured = likelihood.measure(model, pixels, OBJECTIVE, 20, 0)
    weights = likelihood.log_weights(model, pixels, OBJECTIVE, 20, 0)
    assert measured["elbo_sampled"] == pytest.approx(weights[:, 0].mean().item())
    assert measured["iwae_bound"] > measured["elbo_sampled"]
    with torch.no_grad():
        model.w.fill_(float("nan"))
    assert set(likelihood.measure(model, pixels, OBJECTIVE, 20, 0).values()) == {None}
