"""The training of one model: all data in memory as bytes, one loop, and everything random from the model's own seed."""

import logging
import platform
from dataclasses import dataclass
from math import isfinite, prod
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from vae.data import draw
from vae.errors import UserError
from vae.grid import Spec
from vae.networks import VAE, Widths, as_inputs, build, sample
from vae.objective import Objective, kld

log = logging.getLogger(__name__)

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


@dataclass(frozen=True)
class Training:
    """How a model is trained: `images` is how many of the training images are used, None for all."""

    optimizer: str
    learning_rate: float
    batch_size: int
    epochs: int
    images: int | None


@dataclass(frozen=True)
class Recipe:
    """All that decides a model beside its architecture, its seed and the data."""

    networks: Widths
    objective: Objective
    training: Training

    @classmethod
    def of(cls, config: dict) -> "Recipe":
        """The recipe of a study's config; the seeds are not part of it."""
        training = {key: value for key, value in config["training"].items() if key != "seeds"}
        return cls(Widths(**config["networks"]), Objective(**config["objective"]), Training(**training))


@dataclass
class Trained:
    """A trained model. `status` is `ok` or `diverged`; a diverged model keeps the weights of its last finite epoch.

    `history` has one dict per epoch: epoch, loss (as optimised), reconstruction and kld (nats per training image, means
    over the epoch while the weights move), seconds.
    """

    model: VAE
    status: str
    history: list[dict]
    seconds: float
    images_per_second: float


def train(spec: Spec, seed: int, images: Tensor, recipe: Recipe, device: torch.device) -> Trained:
    """Train one model on `images`, `uint8 [N, H, W]` or `[N, C, H, W]`, on any device; they are moved to `device`.

    The seed decides the initial weights, the order of the images and the noise, each from a generator of its own.
    """
    training = recipe.training
    weights_seed, batches_seed, noise_seed = streams(seed, 3)
    batches = torch.Generator().manual_seed(batches_seed)
    noise = torch.Generator(device).manual_seed(noise_seed)
    model = build(spec, tuple(images.shape[1:]), recipe.networks, weights_seed).to(device)
    # `fused` is the same arithmetic in one kernel, on a CPU as on a GPU.
    optimizer = OPTIMIZERS[training.optimizer](model.parameters(), lr=training.learning_rate, fused=True)
    images = images.to(device)
    status, history, finite = "ok", [], _snapshot(model)
    start = perf_counter()
    for epoch in range(1, training.epochs + 1):
        begun = perf_counter()
        terms = _epoch(model, optimizer, images, recipe.objective, training.batch_size, batches, noise)
        history.append({"epoch": epoch, **terms, "seconds": perf_counter() - begun})
        log.info(
            "%s seed %d epoch %d/%d: reconstruction %.2f, KLD %.3f nats per image, %.0f images/s",
            spec, seed, epoch, training.epochs, terms["reconstruction"], terms["kld"],
            len(images) / history[-1]["seconds"],
        )  # fmt: skip
        if not isfinite(terms["loss"]) or not all(p.isfinite().all() for p in model.parameters()):
            log.warning("%s seed %d diverged in epoch %d; it keeps the weights of the epoch before", spec, seed, epoch)
            model.load_state_dict(finite)
            status = "diverged"
            break
        finite = _snapshot(model)
    seconds = perf_counter() - start
    return Trained(model, status, history, seconds, len(history) * len(images) / seconds)


def _epoch(
    model: VAE,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    objective: Objective,
    batch_size: int,
    batches: torch.Generator,
    noise: torch.Generator,
) -> dict[str, float]:
    """One pass over the images in a new order; the epoch's mean loss, reconstruction and KLD."""
    pixels = prod(images.shape[1:])
    totals = torch.zeros(3, device=images.device)
    order = torch.randperm(len(images), generator=batches).to(images.device)
    for chosen in order.split(batch_size):
        inputs = as_inputs(images[chosen])
        mean, log_variance = model.encoder(inputs)
        reconstruction = objective.reconstruction(model.decoder(sample(mean, log_variance, noise)), inputs).mean()
        divergence = kld(mean, log_variance).sum(1).mean()
        loss = objective.loss(reconstruction, divergence, pixels, mean.shape[1])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        totals += torch.stack([loss, reconstruction, divergence]).detach() * len(chosen)
    return dict(zip(("loss", "reconstruction", "kld"), (totals / len(images)).tolist(), strict=True))


def streams(seed: int, count: int) -> list[int]:
    """`count` seeds for independent generators, all decided by `seed`; the first ones do not depend on `count`."""
    return [int(child.generate_state(1, np.uint64)[0] >> 1) for child in np.random.SeedSequence(seed).spawn(count)]


def subset(images: np.ndarray, count: int | None) -> np.ndarray:
    """`count` of the images, in their order and the same for every model.

    Raises UserError where there are not that many.
    """
    if count is None:
        return images
    if count > len(images):
        raise UserError(f"training.images: {count} are asked for, the dataset has {len(images)} training images")
    return images[np.sort(draw(len(images), count))]


def pick_device(name: str) -> torch.device:
    """The device for `auto`, `cpu` or `cuda`; UserError for a GPU that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda is asked for, and torch sees no GPU; set device to auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """What the device is, in words."""
    return (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"CPU ({platform.processor() or platform.machine()})"
    )


def _snapshot(model: VAE) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
