"""The objective, and the losses that are reported: the evidence lower bound (Kingma & Welling 2014) and its two terms.

Reported terms are always sums, in nats per image. What is optimised depends on `reduction`:

- `sum`: reconstruction + beta · KLD, the negative ELBO at beta = 1 (a beta-VAE, Higgins et al. 2017, elsewhere).
- `mean`: reconstruction / pixels + beta · KLD / latent size. Times the number of pixels, that is
  reconstruction + beta · (pixels / latent size) · KLD: the `sum` objective with an effective beta of
  beta · pixels / latent size, scaled by 1 / pixels.
"""

from dataclasses import dataclass
from math import log, pi

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Objective:
    """Likelihood, weight of the KLD, and reduction. `sigma` is the Gaussian likelihood's standard deviation.

    Over the first `kl_warmup` of the steps, a share, the weight of the KLD rises linearly from zero (Bowman et al.
    2016, Sønderby et al. 2016).
    """

    likelihood: str
    sigma: float
    beta: float
    reduction: str
    kl_warmup: float = 0.0

    def reconstruction(self, logits: Tensor, images: Tensor) -> Tensor:
        """-log p(x|z) in nats, `[..., B]`, for logits `[..., B, C, H, W]` and images in [0, 1], `[B, C, H, W]`.

        `bernoulli` is the cross-entropy of grey levels taken as probabilities; `gaussian` has the mean sigmoid(logits)
        and the same fixed standard deviation `sigma` for every pixel.
        """
        if self.likelihood == "bernoulli":
            nats = F.binary_cross_entropy_with_logits(logits, images.expand_as(logits), reduction="none")
        else:
            nats = ((images - logits.sigmoid()) / self.sigma).square() / 2 + log(self.sigma) + log(2 * pi) / 2
        return nats.flatten(-3).sum(-1)

    def effective_beta(self, pixels: int, latent_size: int | Tensor) -> float | Tensor:
        """The weight of the KLD, in nats, against the reconstruction, in nats."""
        return self.beta * pixels / latent_size if self.reduction == "mean" else self.beta

    def warmed(self, done: float) -> float:
        """The share of the KLD's weight that counts when a share `done` of all steps, from 0 to 1, is done."""
        return min(1.0, done / self.kl_warmup) if self.kl_warmup else 1.0

    def scale(self, pixels: int) -> float:
        """The factor from the loss in nats per image to the objective."""
        return 1 / pixels if self.reduction == "mean" else 1.0


def kld(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(q(z|x) || N(0, I)) in nats per image and dimension, `[B, latent_size]` (Kingma & Welling 2014, appendix B)."""
    return (mean.square() + log_variance.exp() - 1 - log_variance) / 2
