import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from vae.training.loop import terms
from vae.training.objective import Objective, kld


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 1, 5, 6, generator=generator, dtype=torch.float64)
    images = torch.rand(4, 1, 5, 6, generator=generator, dtype=torch.float64)
    return logits, images


def test_bernoulli_against_torch_distributions(batch):
    logits, images = batch
    wanted = -Bernoulli(logits=logits, validate_args=False).log_prob(images).flatten(1).sum(1)
    torch.testing.assert_close(Objective("bernoulli", 0.1, 1, "sum").reconstruction(logits, images), wanted)


def test_gaussian_against_torch_distributions(batch):
    logits, images = batch
    wanted = -Normal(logits.sigmoid(), 0.3).log_prob(images).flatten(1).sum(1)
    torch.testing.assert_close(Objective("gaussian", 0.3, 1, "sum").reconstruction(logits, images), wanted)


def test_kld_against_torch_distributions():
    mean, log_variance = torch.randn(2, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(torch.zeros(()).double(), 1.0))
    torch.testing.assert_close(kld(mean, log_variance), wanted)
    assert kld(torch.zeros(1, 3), torch.zeros(1, 3)).tolist() == [[0, 0, 0]]


def test_mean_is_the_average_over_pixels_and_over_latent_dimensions(batch):
    logits, images = batch
    mean = log_variance = torch.ones(4, 3).double()
    objective = Objective("bernoulli", 0.1, 2.0, "mean")
    wanted = (objective.reconstruction(logits, images) / 30).mean() + 2.0 * kld(mean, log_variance).mean()
    loss, *_ = terms(objective, (mean, log_variance, logits), images, objective.effective_beta(30, 3))
    torch.testing.assert_close(loss, wanted)


def test_mean_is_sum_at_the_effective_beta_up_to_scale(batch):
    """The losses differ by the factor of the pixels alone, so their gradients do too."""
    logits, images = batch
    mean = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gradients = []
    averaged = Objective("bernoulli", 0.1, 1.5, "mean")
    summed = Objective("bernoulli", 0.1, averaged.effective_beta(pixels=30, latent_size=3), "sum")
    assert summed.beta == 1.5 * 30 / 3
    for objective in (averaged, summed):
        leaves = [logits.clone().requires_grad_(), mean.clone().requires_grad_()]
        beta = objective.effective_beta(pixels=30, latent_size=3)
        loss, *_ = terms(objective, (leaves[1], leaves[1], leaves[0]), images, beta)
        gradients.append([loss, *torch.autograd.grad(loss, leaves)])
    for small, large in zip(*gradients, strict=True):
        torch.testing.assert_close(small * 30, large)
