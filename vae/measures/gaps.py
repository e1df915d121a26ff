"""Where inference loses: the gaps between log p(x) and what the encoder reaches of it (Cremer, Li & Duvenaud 2018).

For one image, with L[q] = E_q[log p(x|z)] - β KL(q || p(z)),

    log p(x) - L[q] = (log p(x) - L[q*]) + (L[q*] - L[q]):

q* is the best diagonal Gaussian for this image alone, so that the first, the *approximation gap*, is what diagonal
Gaussians cannot do, and the second, the *amortisation gap*, is what the encoder loses by answering every image with one
network. On images that the encoder was not trained on, the second is larger: the difference is what it has not learned
to generalise (Shu et al. 2018).

At another β than 1, log p(x) stands for β log ∫ p(z) p(x|z)^(1/β) dz, which is the largest L[q] that any q has
(Donsker & Varadhan 1975), and log p(x) at β = 1. It is estimated by importance sampling from a q* that is spread a
little, and is a lower bound in expectation, which q*'s codes make a close one.
"""

from math import ceil, cos, hypot, log, pi, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from vae.models.vae import VAE, as_inputs, sample
from vae.training.objective import Objective, kld

# The search for q*: Adam's rate falls from the first to the last along half a cosine, over so many steps of so many
# codes an image, half of them opposite to the other half.
STEPS, CODES, RATES = 300, 8, (5e-2, 1e-3)
# The best of the candidates is chosen on so many codes; both q are then estimated on so many fresh ones, since the
# winner of a choice looks better than it is.
CHOOSING, ESTIMATING = 256, 1000
# Codes of importance sampling, and how far q* is spread for it, so that no part of the posterior is left out.
IMPORTANCE, SPREAD = 2000, 1.2
ROWS = 2048  # codes that are decoded at once, whatever there are of images; bounds the memory


class Gaussian(NamedTuple):
    """A diagonal Gaussian for each image: mean and log-variance, both `[N, latent_size]`."""

    mean: Tensor
    log_variance: Tensor


class Gaps(NamedTuple):
    """Nats per image, each `float64 [N]`.

    `evidence` is log p(x), `best` is L[q*], `reached` is L[q] of the encoder. `effective` is how many codes of the
    importance sampling count (Kong 1992); where they are few, log p(x) is larger than its estimate.
    """

    evidence: Tensor
    best: Tensor
    reached: Tensor
    effective: Tensor

    @property
    def approximation(self) -> Tensor:
        """log p(x) less the ELBO of the best diagonal Gaussian."""
        return self.evidence - self.best

    @property
    def amortisation(self) -> Tensor:
        """The ELBO of the best diagonal Gaussian less that of the encoder."""
        return self.best - self.reached

    @property
    def named(self) -> dict[str, Tensor]:
        """log p(x) and both gaps, by their columns in the table of models."""
        gaps = {"approximation_gap": self.approximation, "amortisation_gap": self.amortisation}
        return {"log_evidence": self.evidence} | gaps


class Inference:
    """The decoder of a model, frozen, and how well any q infers for it; `beta` is the effective weight of the KLD."""

    def __init__(self, model: VAE, objective: Objective, beta: float, seed: int):
        self.model, self.objective, self.beta = model.eval().requires_grad_(False), objective, beta
        self.device = next(model.parameters()).device
        self.noise = torch.Generator(self.device).manual_seed(seed)

    def gaps(self, images: Tensor) -> Gaps:
        """The gaps of images `uint8 [N, ...]`."""
        parts = [self._gaps(as_inputs(batch.to(self.device))) for batch in images.split(ROWS // CODES)]
        return Gaps._make(map(torch.cat, zip(*parts)))

    def _gaps(self, inputs: Tensor) -> Gaps:
        with torch.no_grad():
            reached = Gaussian(*self.model.encoder(inputs))
        best = self.best(inputs, reached)
        evidence, effective = self.evidence(best, inputs)
        of_best, of_reached = self.bounds([best, reached], inputs, ESTIMATING)
        return Gaps(evidence, of_best, of_reached, effective)

    def best(self, inputs: Tensor, reached: Gaussian) -> Gaussian:
        """q* of every image: the best of where the encoder's answer and where the prior lead, and of that answer."""
        prior = Gaussian(*map(torch.zeros_like, reached))
        candidates = [self.search(reached, inputs), self.search(prior, inputs), reached]
        chosen = torch.stack(self.bounds(candidates, inputs, CHOOSING)).argmax(0)
        of_each = chosen, torch.arange(len(inputs), device=self.device)
        return Gaussian(*(torch.stack(parts)[of_each] for parts in zip(*candidates)))

    def search(self, start: Gaussian, inputs: Tensor) -> Gaussian:
        """The diagonal Gaussians that gradients lead to from a start."""
        q = Gaussian(*(part.clone().requires_grad_() for part in start))
        optimizer = torch.optim.Adam(q, fused=True)
        fast, slow = RATES
        for step in range(STEPS):
            optimizer.param_groups[0]["lr"] = slow + (fast - slow) * (1 + cos(pi * step / STEPS)) / 2
            draws = self._draw(CODES // 2, *q.mean.shape)
            distortion = self.distortion(sample(*q, torch.cat([draws, -draws])), inputs).mean(0)
            # Images do not share what is optimised: the gradient of their sum is that of each.
            (distortion + self.beta * kld(*q).sum(1)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        return Gaussian(*(part.detach() for part in q))

    @torch.no_grad()
    def bounds(self, each: list[Gaussian], inputs: Tensor, count: int) -> list[Tensor]:
        """L[q] of several q for every image, `float64 [B]`, from the same noise of `count` codes."""
        totals = torch.zeros(len(each), len(inputs), dtype=torch.float64, device=self.device)
        for codes in self._portions(count, len(inputs)):
            draws = self._draw(codes, *each[0].mean.shape)
            for total, q in zip(totals, each):
                total -= self.distortion(sample(*q, draws), inputs).double().sum(0)
        rates = torch.stack([kld(*q).double().sum(1) for q in each])
        return list(totals / count - self.beta * rates)

    @torch.no_grad()
    def evidence(self, q: Gaussian, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """log p(x), and how many of the codes count, by importance sampling from q spread by `SPREAD`."""
        spread = Gaussian(q.mean, q.log_variance + 2 * log(SPREAD))
        weights = []
        for codes in self._portions(IMPORTANCE, len(inputs)):
            draws = self._draw(codes, *q.mean.shape)
            drawn = sample(*spread, draws)
            # log p(z) - log q(z), in which the constants of the two Gaussians cancel.
            prior = ((draws.square() + spread.log_variance - drawn.square()).double() / 2).sum(2)
            weights.append(prior - self.distortion(drawn, inputs).double() / self.beta)
        log_weights = torch.cat(weights)
        total = log_weights.logsumexp(0)
        effective = (2 * total - (2 * log_weights).logsumexp(0)).exp()
        return self.beta * (total - log(IMPORTANCE)), effective

    def distortion(self, codes: Tensor, inputs: Tensor) -> Tensor:
        """-log p(x|z) in nats of codes `[K, B, latent_size]` for `B` images, `[K, B]`."""
        logits = self.model.decoder(codes.flatten(0, 1)).unflatten(0, codes.shape[:2])
        return self.objective.reconstruction(logits, inputs)

    def _draw(self, *shape: int) -> Tensor:
        return torch.empty(shape, device=self.device).normal_(generator=self.noise)

    @staticmethod
    def _portions(count: int, images: int) -> list[int]:
        """`count` codes of every image in portions that are decoded at once."""
        portion = max(1, ROWS // images)
        return [min(portion, count - portion * i) for i in range(ceil(count / portion))]


def misfit(of: Gaps, truth: Tensor) -> dict[str, float]:
    """True log p(x) less that of the decoder, of the same images `[N]`, in nats, with its standard error."""
    lacking = truth - of.evidence.cpu()
    return {"misfit": lacking.mean().item(), "misfit_error": (lacking.std() / sqrt(len(lacking))).item()}


def summary(test: Gaps, train: Gaps) -> dict[str, float]:
    """Means over test and over training images, in nats, each with its standard error; the latter begin with `train_`.

    `generalisation_gap` is by how much the amortisation gap of test images is larger. `effective_codes` are medians.
    """
    numbers = {}
    for prefix, gaps in (("", test), ("train_", train)):
        for name, values in gaps.named.items():
            numbers[prefix + name] = values.mean().item()
            numbers[f"{prefix}{name}_error"] = (values.std() / sqrt(len(values))).item()
        numbers[f"{prefix}effective_codes"] = gaps.effective.quantile(0.5).item()
    apart, errors = ([numbers[f"{prefix}amortisation_gap{of}"] for prefix in ("", "train_")] for of in ("", "_error"))
    return numbers | {"generalisation_gap": apart[0] - apart[1], "generalisation_gap_error": hypot(*errors)}


# What `summary` has, for models that have no gaps.
NONE = dict.fromkeys(summary(*[Gaps._make(torch.zeros(4, 2))] * 2))
