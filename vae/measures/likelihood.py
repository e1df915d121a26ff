"""The IWAE bound: the importance-weighted lower bound on log p(x) (Burda et al. 2016).

With k codes drawn from q(z|x), each weighted by w = p(x|z) p(z) / q(z|x), the mean weight is an unbiased estimate of
p(x), and the logarithm of that mean bounds log p(x) from below in expectation: L_k = E[log (w_1 + … + w_k) / k]. L_1 is
the ELBO; L_k grows with k, to log p(x).
"""

from math import isfinite, log, sqrt

import torch
from torch import Tensor

from vae.models.vae import VAE, as_inputs
from vae.training.objective import Objective

# Codes that are decoded at once, whatever k is; bounds the memory.
ROWS = 4096


@torch.inference_mode()
def log_weights(model: VAE, images: Tensor, objective: Objective, k: int, seed: int) -> Tensor:
    """log w of k codes for each of the images (`uint8 [N, ...]`), in nats, `float64 [N, k]`.

    Images are encoded once; codes are decoded `ROWS` at a time.
    """
    model.eval()
    device = next(model.parameters()).device
    noise = torch.Generator(device).manual_seed(seed)
    per_image = []
    for batch in images.split(max(1, ROWS // k)):
        inputs = as_inputs(batch.to(device))
        mean, log_variance = model.encoder(inputs)
        weights = []
        for count in [min(ROWS, k - start) for start in range(0, k, ROWS)]:
            draws = torch.empty(len(batch), count, mean.shape[1], device=device).normal_(generator=noise)
            codes = mean[:, None] + (log_variance[:, None] / 2).exp() * draws
            logits = model.decoder(codes.flatten(0, 1))
            nats = objective.reconstruction(logits, inputs.repeat_interleave(count, 0)).unflatten(0, (-1, count))
            # log p(z) - log q(z|x); the constants of the two Gaussians cancel.
            prior = ((draws.square() + log_variance[:, None] - codes.square()).double() / 2).sum(2)
            weights.append(prior - nats.double())
        per_image.append(torch.cat(weights, 1))
    return torch.cat(per_image)


def bound(log_weights: Tensor) -> tuple[float, float]:
    """The mean over N images of L_k from their log weights `[N, k]`, in nats, and the standard error of that mean."""
    values = log_weights.logsumexp(1) - log(log_weights.shape[1])
    return values.mean().item(), (values.std() / sqrt(len(values))).item()


def measure(model: VAE, images: Tensor, objective: Objective, k: int, seed: int) -> dict[str, float | None]:
    """L_k and L_1 from the same codes, in nats per image, each with its standard error; None where not finite."""
    weights = log_weights(model, images, objective, k, seed)
    values = (*bound(weights), *bound(weights[:, :1]))
    names = ("iwae_bound", "iwae_bound_error", "elbo_sampled", "elbo_sampled_error")
    return {name: value if isfinite(value) else None for name, value in zip(names, values, strict=True)}
