"""The hyperparameters of a training, beside the architecture, the seed and the data."""

from dataclasses import dataclass, replace
from math import cos, pi, sqrt

import torch
from torch import Tensor, nn

from vae.grid import variants, varied
from vae.models.initialisation import inputs
from vae.models.networks import Networks
from vae.training.objective import Objective


@dataclass(frozen=True)
class Training:
    """The hyperparameters of a training; `images` is the number of training images, None for all.

    `warmup` is a share of the steps; `gradient_clip` is the largest norm of the gradient of the loss in nats per image,
    None for any. Where `scaled_rate` is true, the learning rate of each layer is a share of it.
    Where `antithetic` is true, an image is decoded from two codes, one as far from the posterior's mean as the other.
    """

    optimizer: str
    learning_rate: float
    batch_size: int
    epochs: int
    images: int | None
    precision: str = "fp32"
    schedule: str = "constant"
    warmup: float = 0.0
    gradient_clip: float | None = None
    scaled_rate: bool = False
    antithetic: bool = False

    def rate(self, done: float) -> float:
        """The learning rate when a share `done` of all steps, from 0 to 1, is done."""
        return self.learning_rate * self.scheduled(done)

    def scheduled(self, done: float) -> float:
        """The share of the learning rate that counts then.

        It rises linearly over the warm-up; then it stays, or falls to zero along half a cosine (Loshchilov & Hutter
        2017).
        """
        if done < self.warmup:
            return done / self.warmup
        if self.schedule == "constant":
            return 1.0
        return (1 + cos(pi * (done - self.warmup) / (1 - self.warmup))) / 2

    def layer_rates(self, model: nn.Module) -> dict[str, float]:
        """The share of the learning rate that each of a model's parameters is trained at, by name.

        Where the rate is scaled, a layer of n inputs in a model of k layers has 1 / (k · √n) of it: 1 / √n is what He's
        initial weights are in proportion to (He et al. 2015), so that a step changes the outputs of all layers by the
        same share, and those of k layers, one upon the other, by that share together. A layer without a matrix, such as
        a normalisation, has one input, and is not counted.
        """
        if not self.scaled_rate:
            return {name: 1.0 for name, _ in model.named_parameters()}
        named = {name: layer for name, layer in model.named_modules() if list(layer.parameters(recurse=False))}
        count = sum(any(weights.ndim > 1 for weights in layer.parameters(recurse=False)) for layer in named.values())
        return {
            f"{name}.{of_layer}".removeprefix("."): 1 / (count * sqrt(inputs(layer)))
            for name, layer in named.items()
            for of_layer, _ in layer.named_parameters(recurse=False)
        }

    def codes(self, noise: Tensor) -> Tensor:
        """The noise of all codes of an image for that of one, `[..., B, latent_size]`: itself, or `[..., 2, B, ...]`.

        Of two opposite codes, the terms that are odd in the noise cancel in the loss and in its gradient.
        """
        return torch.stack([noise, -noise], dim=-3) if self.antithetic else noise


@dataclass(frozen=True)
class Recipe:
    """All that decides a model beside its architecture, its seed and the data.

    Where `binarise` is true, the training images are drawn anew in every epoch: each pixel white with its grey level as
    the probability, and black otherwise. Where `deterministic` is true, codes have no noise, and the KLD no weight: it
    is that of an autoencoder.
    """

    networks: Networks
    objective: Objective
    training: Training
    binarise: bool = False
    deterministic: bool = False

    def largest_gradient(self, pixels: int) -> float | None:
        """The largest norm of the gradient of what is minimised, None for any."""
        clip = self.training.gradient_clip
        return None if clip is None else clip * self.objective.scale(pixels)

    @property
    def autoencoder(self) -> "Recipe":
        """This recipe for an autoencoder, whose two opposite codes would be one."""
        training, objective = replace(self.training, antithetic=False), replace(self.objective, beta=0.0)
        return replace(self, training=training, objective=objective, deterministic=True)

    @property
    def stacked(self) -> "Recipe":
        """This recipe but for what may differ between models that are trained as a stack."""
        objective, training = replace(self.objective, beta=0.0), replace(self.training, learning_rate=0.0)
        return replace(self, objective=objective, training=training)

    @classmethod
    def of(cls, config: dict, binarise: bool = False) -> "Recipe":
        """The recipe of a study's config; the seeds are not part of it."""
        training = {key: value for key, value in config["training"].items() if key != "seeds"}
        return cls(Networks(**config["networks"]), Objective(**config["objective"]), Training(**training), binarise)

    @classmethod
    def of_variants(cls, config: dict, binarise: bool = False) -> dict[str, "Recipe"]:
        """The recipe of every variant of a study's config, by name."""
        return {name: cls.of(varied(config, values), binarise) for name, values in variants(config).items()}
