"""Encoders and decoders, family by family, and the VAE made of one of each.

What counts as a layer. A depth counts dense layers or convolutional blocks; the one linear map of each side that ties
them to the code or to the pixels is not counted:

- DNN encoder of depth n: n times (linear, bias, LeakyReLU); then the heads, one linear map to mean and log-variance.
- DNN decoder of depth n: n times (linear, bias, LeakyReLU); then one linear map to the logits of every pixel.
- CNN encoder of depth n: n blocks (convolution 5×5, stride 2, padding 2, bias, LeakyReLU), each halving height and
  width, rounding up, the first to `base_channels` and every next to twice as many; then the heads.
- CNN decoder of depth n: the mirror image. The counterpart of the heads, one linear map (with LeakyReLU) from the code
  to the smallest feature map, is not counted; then n blocks of transposed convolution (5×5, stride 2, bias, LeakyReLU),
  each undoing one halving exactly. The last ends on the image's channels, without LeakyReLU: its output is the logits.

Where a number of parameters is asked for, all widths of a network are scaled together until it has that many.

A new family is one class with `deepest`, `encoder` and `decoder`, registered with `@family("NAME")`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil, log2, prod
from typing import Protocol

import torch
from torch import Tensor, nn

from vae.capacity import fit
from vae.convolution import UpConv2d
from vae.errors import UserError
from vae.grid import Network, Spec


@dataclass(frozen=True)
class Widths:
    """How wide the networks are, and how many parameters an encoder (with its heads) and a decoder are to have, if any.

    `base_channels` is a fraction where widths are scaled; every block rounds its own channels.
    """

    hidden_units: int
    base_channels: float
    encoder_parameters: int | None = None
    decoder_parameters: int | None = None

    def scaled(self, scale: float) -> "Widths":
        """These widths times `scale`."""
        return replace(
            self, hidden_units=max(1, round(self.hidden_units * scale)), base_channels=self.base_channels * scale
        )


class Family(Protocol):
    """What a family of architectures provides. `planes` is the image's shape as `(C, H, W)`."""

    @staticmethod
    def deepest(planes: tuple[int, int, int]) -> int:
        """The greatest depth that works on images of this shape."""

    @staticmethod
    def encoder(depth: int, planes: tuple[int, int, int], widths: Widths) -> tuple[nn.Module, int]:
        """A module from `[B, C, H, W]` to `[B, F]`, and F; the heads come after it."""

    @staticmethod
    def decoder(depth: int, latent_size: int, planes: tuple[int, int, int], widths: Widths) -> nn.Module:
        """A module from `[B, latent_size]` to logits `[B, C, H, W]`."""


FAMILIES: dict[str, type[Family]] = {}


def family(name: str) -> Callable[[type[Family]], type[Family]]:
    """Register a class as the family that labels call `name` (capitals only)."""

    def register(cls: type[Family]) -> type[Family]:
        FAMILIES[name] = cls
        return cls

    return register


@family("DNN")
class Dense:
    """Dense layers of equal width."""

    @staticmethod
    def deepest(planes):
        return 16

    @staticmethod
    def encoder(depth, planes, widths):
        return nn.Sequential(nn.Flatten(), *_dense(depth, prod(planes), widths)), widths.hidden_units

    @staticmethod
    def decoder(depth, latent_size, planes, widths):
        layers = _dense(depth, latent_size, widths)
        return nn.Sequential(*layers, nn.Linear(widths.hidden_units, prod(planes)), Planes(planes))


def _dense(depth: int, inputs: int, widths: Widths) -> list[nn.Module]:
    sizes = [inputs] + [widths.hidden_units] * depth
    return [module for i in range(depth) for module in (nn.Linear(sizes[i], sizes[i + 1]), nn.LeakyReLU(inplace=True))]


@family("CNN")
class Convolutional:
    """Blocks of 5×5 convolutions with stride 2, channels doubling."""

    @staticmethod
    def deepest(planes):
        return ceil(log2(min(planes[1:])))

    @staticmethod
    def encoder(depth, planes, widths):
        sizes = _feature_maps(depth, planes, widths)
        layers = []
        for (channels, *_), (wider, *_) in pairwise(sizes):
            layers += [nn.Conv2d(channels, wider, 5, stride=2, padding=2), nn.LeakyReLU(inplace=True)]
        return nn.Sequential(*layers, nn.Flatten()), prod(sizes[-1])

    @staticmethod
    def decoder(depth, latent_size, planes, widths):
        sizes = _feature_maps(depth, planes, widths)[::-1]
        layers = [nn.Linear(latent_size, prod(sizes[0])), nn.LeakyReLU(inplace=True), Planes(sizes[0])]
        for (channels, *_), (fewer, height, width) in pairwise(sizes):
            # A stride of 2 maps both 2n and 2n - 1 to n; the output padding says which of them to come back to.
            padding = (1 - height % 2, 1 - width % 2)
            layers += [
                UpConv2d(channels, fewer, padding),
                nn.LeakyReLU(inplace=True),
            ]
        return nn.Sequential(*layers[:-1])


class Planes(nn.Module):
    """Rows `[B, C·H·W]` as images `[B, C, H, W]`; one operation when exported, where `nn.Unflatten` is ten."""

    def __init__(self, planes: tuple[int, int, int]):
        super().__init__()
        self.planes = planes

    def forward(self, rows: Tensor) -> Tensor:
        return rows.reshape(-1, *self.planes)


def _feature_maps(depth: int, planes: tuple[int, int, int], widths: Widths) -> list[tuple[int, int, int]]:
    """Shapes `(C, H, W)` from the image to the smallest feature map."""
    sizes = [tuple(planes)]
    for i in range(depth):
        _, height, width = sizes[-1]
        sizes.append((max(1, round(widths.base_channels * 2**i)), ceil(height / 2), ceil(width / 2)))
    return sizes


class Encoder(nn.Module):
    """A family's encoder with its heads: images `[B, C, H, W]` to mean and log-variance, each `[B, latent_size]`."""

    def __init__(self, body: nn.Module, features: int, latent_size: int):
        super().__init__()
        self.body = body
        self.heads = nn.Linear(features, 2 * latent_size)
        self.latent_size = latent_size

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.heads(self.body(images)).split(self.latent_size, dim=1)
        return mean, log_variance


def encoder(network: Network, latent_size: int, planes: tuple[int, int, int], widths: Widths) -> Encoder:
    """An encoder for images `(C, H, W)`; UserError where it cannot have the parameters that are asked for."""

    def make(widths: Widths) -> Encoder:
        body, features = FAMILIES[network.family].encoder(network.depth, planes, widths)
        return Encoder(body, features, latent_size)

    return _sized(make, widths, widths.encoder_parameters, f"{network} at latent size {latent_size}")


def decoder(network: Network, latent_size: int, planes: tuple[int, int, int], widths: Widths) -> nn.Module:
    """A decoder for images `(C, H, W)`; UserError where it cannot have the parameters that are asked for."""

    def make(widths: Widths) -> nn.Module:
        return FAMILIES[network.family].decoder(network.depth, latent_size, planes, widths)

    return _sized(make, widths, widths.decoder_parameters, f"{network} at latent size {latent_size}")


def _sized(make: Callable[[Widths], nn.Module], widths: Widths, wanted: int | None, what: str) -> nn.Module:
    if wanted is None:
        return make(widths)

    def count(scale: float) -> int:
        with torch.device("meta"):  # nothing is computed, and no random number is drawn
            return parameters(make(widths.scaled(scale)))

    try:
        return make(widths.scaled(fit(count, wanted)))
    except UserError as error:
        raise UserError(f"{what}: {error}") from None


class VAE(nn.Module):
    """One encoder and one decoder around a diagonal Gaussian code.

    `encoder` takes images in [0, 1], `[B, C, H, W]`, to mean and log-variance of q(z|x), each `[B, latent_size]`;
    `decoder` takes codes to logits of p(x|z), `[B, C, H, W]`. The whole takes images and standard normal noise,
    `[B, latent_size]`, to mean, log-variance and the logits of one sampled code.
    """

    def __init__(self, spec: Spec, image_shape: tuple[int, ...], widths: Widths):
        super().__init__()
        check(spec.encoder, image_shape)
        check(spec.decoder, image_shape)
        planes = to_planes(image_shape)
        self.latent_size = spec.latent_size
        self.encoder = encoder(spec.encoder, spec.latent_size, planes, widths)
        self.decoder = decoder(spec.decoder, spec.latent_size, planes, widths)

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encoder(images)
        return mean, log_variance, self.decoder(sample(mean, log_variance, noise))


def sample(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """z = mean + exp(log_variance / 2) · noise, the reparameterised sample of q(z|x), all `[B, latent_size]`."""
    return mean + (log_variance / 2).exp() * noise


def parameters(module: nn.Module) -> int:
    """Number of trained values of an encoder, heads included, or of a decoder."""
    return sum(p.numel() for p in module.parameters())


def build(spec: Spec, image_shape: tuple[int, ...], widths: Widths, seed: int) -> VAE:
    """A model with PyTorch's default initial weights, drawn from `seed` alone; the CPU's generator is left as it was.

    Raises UserError where the family is unknown or too deep for the images.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VAE(spec, image_shape, widths)


def check(network: Network, image_shape: tuple[int, ...]) -> None:
    """Raise UserError unless `network` can be built for images of this shape."""
    if network.family not in FAMILIES:
        raise UserError(f"{network}: unknown family {network.family}; known are {', '.join(FAMILIES)}")
    deepest = FAMILIES[network.family].deepest(to_planes(image_shape))
    if network.depth > deepest:
        size = "×".join(map(str, image_shape))
        raise UserError(
            f"{network}: too deep; {network.family}{deepest} is the deepest {network.family} for images of {size}"
        )


def to_planes(image_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """`(H, W)` or `(C, H, W)` as `(C, H, W)`."""
    return (1, *image_shape) if len(image_shape) == 2 else tuple(image_shape)


def as_planes(images: Tensor) -> Tensor:
    """Images `uint8 [B, H, W]` or `[B, C, H, W]` as `[B, C, H, W]`."""
    return images.unsqueeze(1) if images.ndim == 3 else images


def as_inputs(images: Tensor) -> Tensor:
    """Images `uint8 [B, H, W]` or `[B, C, H, W]` as floats in [0, 1] of torch's default precision, `[B, C, H, W]`."""
    return as_planes(images) / 255
