"""The training of one model: all data in memory as bytes, one loop, and everything random from the model's own seed.

This loop trains on CPUs, and is the reference implementation of `vae.training.stack`, which trains many models at once
on a GPU.
"""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass
from math import ceil, isfinite, prod
from time import perf_counter

import torch
from torch import Tensor, nn

from vae import seeds
from vae.grid import Spec
from vae.models.convolution import arrange
from vae.models.vae import VAE, as_inputs, build
from vae.training.objective import Objective, kld
from vae.training.optimizer import Optimizer
from vae.training.recipe import Recipe
from vae.training.state import Progress, Saved, moments, restore

log = logging.getLogger(__name__)


@dataclass
class Trained:
    """A trained model. `status` is `ok` or `diverged`; a diverged model keeps the weights of its last finite epoch.

    `spec` and `seed` are the model's. `history` has one dict per epoch: epoch, loss (as optimised), reconstruction and
    kld (nats per training image, means over the epoch while the weights move), seconds. `together` is how many models
    were trained at once; the seconds are this model's share of theirs.
    """

    spec: Spec
    seed: int
    model: VAE
    status: str
    history: list[dict]
    images: int
    together: int = 1

    @property
    def seconds(self) -> float:
        """Time of training, without start-up and evaluation."""
        return sum(epoch["seconds"] for epoch in self.history)

    @property
    def images_per_second(self) -> float:
        return len(self.history) * self.images / self.seconds


def train(
    spec: Spec,
    seed: int,
    images: Tensor,
    recipe: Recipe,
    device: torch.device,
    progress: Progress | None = None,
    decoder: nn.Module | None = None,
) -> Trained:
    """Train one model on `images`, `uint8 [N, H, W]` or `[N, C, H, W]`, on any device; they are moved to `device`.

    Where `progress` is given, every epoch is kept there, and training resumes after the last one that is. Where a
    `decoder` is given, it is the model's, and stays as it is: the encoder alone is trained.
    """
    training, run = recipe.training, Run(spec, seed, device, recipe.deterministic)
    model = build(spec, tuple(images.shape[1:]), recipe.networks, run.weights_seed)
    if decoder:
        model.decoder = deepcopy(decoder).requires_grad_(False)
    model.to(device)
    if device.type == "cpu":
        arrange(model.encoder)
        arrange(model.decoder)
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    by_share: dict[float, list[Tensor]] = {}
    shares_of_rate = training.layer_rates(model)
    for name, parameter in parameters.items():
        by_share.setdefault(shares_of_rate[name], []).append(parameter)
    optimizer = Optimizer(training.optimizer, by_share)
    if saved := progress and progress.load():
        model.load_state_dict(saved.weights)
        restore(optimizer.state, parameters, saved.moments)
        run.resume(saved)
    images = images.to(device)
    finite = _snapshot(model)
    pixels = prod(images.shape[1:])
    beta, largest = recipe.objective.effective_beta(pixels, spec.latent_size), recipe.largest_gradient(pixels)
    while run.status == "ok" and len(run.history) < training.epochs:
        begun = perf_counter()
        totals = torch.zeros(3, device=device)
        inputs_of_epoch = run.images(images) if recipe.binarise else images
        batches = run.batches(len(images), training.batch_size)
        for done, (chosen, noise) in zip(shares(recipe, len(images), len(run.history)), batches, strict=True):
            inputs = as_inputs(inputs_of_epoch[chosen])
            with autocast(training.precision, device):
                outputs = model(inputs, training.codes(noise))
            losses = terms(recipe.objective, outputs, inputs, beta * recipe.objective.warmed(done))
            loss, *_ = losses
            loss.backward()
            if largest:
                nn.utils.clip_grad_norm_(model.parameters(), largest)
            optimizer.step(training.rate(done))
            optimizer.zero_grad()
            totals += losses.detach() * len(chosen)
        sound = all(parameter.isfinite().all() for parameter in model.parameters())
        run.record((totals / len(images)).tolist(), sound, perf_counter() - begun)
        if run.status == "ok":
            finite = _snapshot(model)
        if progress:
            progress.save(run.saved(finite, moments(optimizer.state, parameters)))
    model.load_state_dict(finite)
    return run.finish(model, len(images))


class Run:
    """The state of one model's training, alone or in a stack: its random draws, all from its seed, and its record.

    Where it is `deterministic`, its codes have no noise.
    """

    def __init__(self, spec: Spec, seed: int, device: torch.device, deterministic: bool = False):
        self.spec, self.seed, self.device, self.deterministic = spec, seed, device, deterministic
        self.weights_seed = seeds.of_model("weights", seed)
        self.generators = {
            "order": torch.Generator().manual_seed(seeds.of_model("order", seed)),
            "noise": torch.Generator(device).manual_seed(seeds.of_model("noise", seed)),
            "pixels": torch.Generator(device).manual_seed(seeds.of_model("pixels", seed)),
        }
        self.status = "ok"
        self.history: list[dict] = []

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """The order of an epoch's `count` images, and the noise of their codes, `[count, latent_size]`."""
        noise = torch.zeros(count, self.spec.latent_size, device=self.device)
        if not self.deterministic:
            noise.normal_(generator=self.generators["noise"])
        return torch.randperm(count, generator=self.generators["order"]).to(self.device), noise

    def images(self, images: Tensor) -> Tensor:
        """An epoch's draw of black and white images for grey ones, both `uint8`; see `vae.data.dataset.binarise`."""
        return (images > torch.empty_like(images).random_(0, 255, generator=self.generators["pixels"])).to(
            torch.uint8
        ) * 255

    def batches(self, count: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """An epoch's batches: indices `[B]` of images, and noise `[B, latent_size]`."""
        order, noise = self.draw(count)
        return zip(order.split(size), noise.split(size), strict=True)

    def record(self, means: list[float], finite: bool, seconds: float) -> None:
        """Note the loss, reconstruction and KLD of an epoch; a model that is no longer `finite` has diverged."""
        loss, reconstruction, divergence = means
        epoch = len(self.history) + 1
        self.history.append(
            {"epoch": epoch, "loss": loss, "reconstruction": reconstruction, "kld": divergence, "seconds": seconds}
        )
        log.info(
            "%s seed %d epoch %d: reconstruction %.2f, KLD %.3f nats per image, %.2f s",
            self.spec, self.seed, epoch, reconstruction, divergence, seconds,
        )  # fmt: skip
        if not (isfinite(loss) and finite):
            log.warning(
                "%s seed %d diverged in epoch %d; it keeps the weights of the epoch before", self.spec, self.seed, epoch
            )
            self.status = "diverged"

    def saved(self, weights: dict[str, Tensor], moments: dict[str, Tensor]) -> Saved:
        """The training as it stands, with the weights of its last finite epoch."""
        generators = {name: generator.get_state() for name, generator in self.generators.items()}
        return Saved(weights, moments, generators, self.history, self.status)

    def resume(self, saved: Saved) -> None:
        """Resume the draws and the record of a training that was saved."""
        for name, generator in self.generators.items():
            generator.set_state(saved.generators[name])
        self.status, self.history = saved.status, saved.history
        log.info("%s seed %d: resumes after epoch %d", self.spec, self.seed, len(self.history))

    def finish(self, model: VAE, count: int, together: int = 1) -> Trained:
        """The trained model, after epochs of `count` images."""
        return Trained(self.spec, self.seed, model, self.status, self.history, count, together)


def shares(recipe: Recipe, count: int, epoch: int) -> list[float]:
    """The share of all steps that is done in the middle of each step of an epoch, counted from 0, of `count` images."""
    steps = ceil(count / recipe.training.batch_size)
    return [(epoch + (step + 0.5) / steps) / recipe.training.epochs for step in range(steps)]


def terms(objective: Objective, outputs: tuple[Tensor, ...], inputs: Tensor, beta: float | Tensor) -> Tensor:
    """Loss, reconstruction and KLD of a batch, `[3]`; the last two in nats per image.

    `outputs` are mean, log-variance and logits, of any precision; the terms are computed in that of the `inputs`.
    `beta` is the weight of the KLD against the reconstruction.
    """
    mean, log_variance, logits = (output.to(inputs.dtype) for output in outputs)
    reconstruction = objective.reconstruction(logits, inputs).mean()
    divergence = kld(mean, log_variance).sum(1).mean()
    loss = (reconstruction + beta * divergence) * objective.scale(prod(inputs.shape[1:]))
    return torch.stack([loss, reconstruction, divergence])


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """The context of a forward pass at the config's `precision`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False)


def _snapshot(model: VAE) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
