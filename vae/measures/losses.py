"""Losses and size of a trained model on the test set."""

from math import isfinite, prod

import numpy as np
import torch
from torch import Tensor

from vae import seeds
from vae.data.dataset import Dataset
from vae.grid import Spec
from vae.models.flops import flops
from vae.models.vae import VAE, as_inputs, parameters
from vae.training.loop import Trained
from vae.training.objective import Objective, kld
from vae.training.recipe import Recipe

BATCH = 1000
# Training images on which models of an architecture are compared, all with the same noise.
COMPARED = 2000


class Sets:
    """The images that losses are measured on: test, validation, and some training images, `uint8 [N, ...]`."""

    def __init__(self, dataset: Dataset, trained_on: int | None = None):
        # The first that are drawn: they are among those that every model was trained on, `trained_on` at the least.
        compared = np.sort(seeds.draw(len(dataset.train_images), min(COMPARED, trained_on or COMPARED)))
        self.test, self.validation = map(torch.from_numpy, (dataset.test_images, dataset.validation_images))
        self.compared = torch.from_numpy(dataset.seen_in_training(compared))


def measure(spec: Spec, seed: int, trained: Trained, sets: Sets, recipe: Recipe) -> dict:
    """All that metrics.json says of a trained model but its label: `evaluate` on each set, its size, its status.

    Losses are of the test set; those of the others have `validation_` or `train_` before their names. A model whose
    weights are finite and too large to compute losses with has diverged too.
    """
    images, objective = sets.test, recipe.objective
    losses = evaluate(trained.model, images, objective, seeds.of_model("losses", seed))
    others = {
        "validation": evaluate(trained.model, sets.validation, objective, seeds.of_model("validation_losses", seed)),
        "train": evaluate(trained.model, sets.compared, objective, seeds.of_study("slack")),
    }
    finite = all(part["elbo"] is not None for part in (losses, *others.values()))
    model, device = trained.model, next(trained.model.parameters()).device
    return {
        "status": trained.status if finite else "diverged",
        "epochs": len(trained.history),
        "encoder_parameters": parameters(model.encoder),
        "decoder_parameters": parameters(model.decoder),
        "encoder_features": model.encoder.heads.in_features,
        "encoder_flops": flops(model.encoder, as_inputs(images[:1]).to(device)),
        "decoder_flops": flops(model.decoder, torch.zeros(1, spec.latent_size, device=device)),
        "effective_beta": recipe.objective.effective_beta(prod(images.shape[1:]), spec.latent_size),
        **losses,
        **{f"{part}_{name}": others[part][name] for part in others for name in ("reconstruction", "kld", "elbo")},
    }


def minimised(losses: dict, objective: Objective, pixels: int, latent_size: int) -> float | None:
    """The objective in nats per image, from what `evaluate` returns; None if it is not finite.

    It is reconstruction + effective beta · KLD.
    """
    if losses["elbo"] is None:
        return None
    return losses["reconstruction"] + objective.effective_beta(pixels, latent_size) * losses["kld"]


@torch.inference_mode()
def evaluate(model: VAE, images: Tensor, objective: Objective, seed: int, deterministic: bool = False) -> dict:
    """Losses in nats per image on `images` (`uint8 [N, ...]`), from one sampled code per image drawn from `seed`.

    Where it is `deterministic`, the code is the posterior's mean, and `seed` is of no account.

    Returns reconstruction, kld, elbo (their negative sum), reconstruction_per_pixel, and for each latent dimension the
    KLD and the variance over the images of the posterior's mean (Burda et al. 2016 call a unit active where it exceeds
    0.01). Numbers that are not finite become None.
    """
    model.eval()
    device = next(model.parameters()).device
    noise = torch.Generator(device).manual_seed(seed)
    reconstruction, divergence, means = [], [], []
    for batch in images.split(BATCH):
        inputs = as_inputs(batch.to(device))
        draws = torch.empty(len(batch), model.latent_size, device=device).normal_(generator=noise)
        mean, log_variance, logits = model(inputs, draws * (not deterministic))
        reconstruction.append(objective.reconstruction(logits, inputs))
        divergence.append(kld(mean, log_variance))
        means.append(mean)
    # Sums over ten thousand images are taken in double precision.
    nats = torch.cat(reconstruction).double().mean().item()
    per_dimension = torch.cat(divergence).double().mean(0)
    total = per_dimension.sum().item()
    return {
        "reconstruction": _finite(nats),
        "kld": _finite(total),
        "elbo": _finite(-nats - total),
        "reconstruction_per_pixel": _finite(nats / prod(images.shape[1:])),
        "kld_per_dimension": [_finite(value) for value in per_dimension.tolist()],
        "mean_variance_per_dimension": [
            _finite(value) for value in torch.cat(means).double().var(0, correction=0).tolist()
        ],
    }


@torch.inference_mode()
def constant_decoder(train_images: Tensor, test_images: Tensor, objective: Objective) -> float:
    """Nats per test image of the constant decoder, which answers every image with the mean training image.

    A model that has collapsed completely can only answer one image, and its best choice is about this one.
    """
    sums = (as_inputs(batch).double().sum(0) for batch in train_images.split(BATCH))
    total = sum(sums, start=torch.zeros((), dtype=torch.float64))
    # Pixels that are black in every training image would cost infinitely much where a test image has ink.
    logits = (total / len(train_images)).clamp(1e-6, 1 - 1e-6).logit()
    nats = [
        objective.reconstruction(logits.expand(len(batch), *logits.shape), as_inputs(batch).double())
        for batch in test_images.split(BATCH)
    ]
    return torch.cat(nats).mean().item()


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
