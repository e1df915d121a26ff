"""Encoders and decoders, family by family, and the VAE made of one of each.

What counts as a layer. A depth counts dense layers or convolutional blocks; the one linear map of each side that ties
them to the code or to the pixels is not counted:

- LIN has no hidden layer, and no depth: its encoder is the heads alone, one linear map to mean and log-variance; its
  decoder is one linear map to the logits of every pixel.
- DNN encoder of depth n: n times (linear, bias, LeakyReLU); then the heads, one linear map to mean and log-variance.
- DNN decoder of depth n: n times (linear, bias, LeakyReLU); then one linear map to the logits of every pixel.
- CNN encoder of depth n: n blocks (convolution 5×5, stride 2, padding 2, bias, LeakyReLU), each halving height and
  width, rounding up, the first to `base_channels` and every next to twice as many; then the heads.
- CNN decoder of depth n: the mirror image. The counterpart of the heads, one linear map (with LeakyReLU) from the code
  to the smallest feature map, is not counted; then n blocks of transposed convolution (5×5, stride 2, bias, LeakyReLU),
  each undoing one halving exactly. The last ends on the image's channels, without LeakyReLU: its output is the logits.
- RES of depth n: CNN of depth n with a residual block after each convolution of the encoder, and before each transposed
  convolution of the decoder. The block keeps the size of its maps: it adds to them what two 3×3 convolutions make of
  them, each after a normalisation and LeakyReLU (He et al. 2016), and is not counted either.

A `projection` of an encoder is one more dense layer, of that many units, before the heads of every encoder that has a
hidden layer: encoders then differ in what comes before it, and not in how many features they hand to the heads.

Where a number of parameters is asked for, all widths of a network are scaled together until it has that many.

A new family is one class with `shallowest`, `deepest`, `encoder` and `decoder`, registered with `@family("NAME")`: in
this file, or in one of the user's own, which `vae.models.own` runs.
"""

from collections.abc import Callable
from itertools import pairwise
from math import ceil, log2, prod
from typing import Protocol

from torch import Tensor, nn

from vae.errors import UserError
from vae.models.convolution import UpConv2d
from vae.models.networks import Networks
from vae.registry import Registry

Shape = tuple[int, int, int]  # (C, H, W)


class Family(Protocol):
    """The interface of a family of architectures. `planes` is the image's shape."""

    shallowest: int

    @staticmethod
    def deepest(planes: Shape) -> int:
        """The greatest depth that works on images of this shape."""

    @staticmethod
    def encoder(depth: int, planes: Shape, widths: Networks) -> tuple[nn.Module, int]:
        """A module from `[B, C, H, W]` to `[B, F]`, and F; the heads come after it."""

    @staticmethod
    def decoder(depth: int, latent_size: int, planes: Shape, widths: Networks) -> nn.Module:
        """A module from `[B, latent_size]` to logits `[B, C, H, W]`."""


FAMILIES: Registry[type[Family]] = Registry(
    "family", "[A-Z]+", "families", "; a family of your own comes in a file, which `families` of the config names"
)


def family(name: str) -> Callable[[type[Family]], type[Family]]:
    """Register a class as the family that labels call `name` (capitals only); UserError where it lacks something."""

    def register(cls: type[Family]) -> type[Family]:
        if missing := [part for part in ("deepest", "encoder", "decoder") if not callable(getattr(cls, part, None))]:
            raise UserError(f"family {name}: has no method {missing[0]}")
        if type(shallowest := getattr(cls, "shallowest", None)) is not int or shallowest < 0:
            raise UserError(f"family {name}: its least depth, `shallowest`, has to be a whole number from 0")
        return FAMILIES.add(name, cls)

    return register


@family("LIN")
class Linear:
    """One linear map on each side, without a hidden layer."""

    shallowest = 0

    @staticmethod
    def deepest(planes: Shape) -> int:
        return 0

    @staticmethod
    def encoder(depth: int, planes: Shape, widths: Networks) -> tuple[nn.Module, int]:
        return nn.Sequential(nn.Flatten()), prod(planes)

    @staticmethod
    def decoder(depth: int, latent_size: int, planes: Shape, widths: Networks) -> nn.Module:
        return nn.Sequential(nn.Linear(latent_size, prod(planes)), Planes(planes))


@family("DNN")
class Dense:
    """Dense layers of equal width."""

    shallowest = 1

    @staticmethod
    def deepest(planes: Shape) -> int:
        return 16

    @staticmethod
    def encoder(depth: int, planes: Shape, widths: Networks) -> tuple[nn.Module, int]:
        return nn.Sequential(nn.Flatten(), *_dense(depth, prod(planes), widths)), widths.hidden_units

    @staticmethod
    def decoder(depth: int, latent_size: int, planes: Shape, widths: Networks) -> nn.Module:
        layers = _dense(depth, latent_size, widths)
        return nn.Sequential(*layers, nn.Linear(widths.hidden_units, prod(planes)), Planes(planes))


def _dense(depth: int, inputs: int, widths: Networks) -> list[nn.Module]:
    sizes = [inputs] + [widths.hidden_units] * depth
    return [module for i in range(depth) for module in (nn.Linear(sizes[i], sizes[i + 1]), nn.LeakyReLU(inplace=True))]


@family("CNN")
class Convolutional:
    """Blocks of 5×5 convolutions with stride 2, channels doubling; `between` stands where a map has found its size."""

    shallowest = 1

    @staticmethod
    def between(channels: int) -> list[nn.Module]:
        return []

    @staticmethod
    def deepest(planes: Shape) -> int:
        _, height, width = planes
        return ceil(log2(min(height, width)))

    @classmethod
    def encoder(cls, depth: int, planes: Shape, widths: Networks) -> tuple[nn.Module, int]:
        sizes = _feature_maps(depth, planes, widths)
        layers: list[nn.Module] = []
        for (channels, *_), (wider, *_) in pairwise(sizes):
            layers += [nn.Conv2d(channels, wider, 5, stride=2, padding=2), nn.LeakyReLU(inplace=True)]
            layers += cls.between(wider)
        return nn.Sequential(*layers, nn.Flatten()), prod(sizes[-1])

    @classmethod
    def decoder(cls, depth: int, latent_size: int, planes: Shape, widths: Networks) -> nn.Module:
        sizes = _feature_maps(depth, planes, widths)[::-1]
        layers: list[nn.Module] = [nn.Linear(latent_size, prod(sizes[0])), nn.LeakyReLU(inplace=True), Planes(sizes[0])]
        for (channels, *_), (fewer, height, width) in pairwise(sizes):
            # A stride of 2 maps both 2n and 2n - 1 to n; the output padding says which of them to come back to.
            padding = (1 - height % 2, 1 - width % 2)
            layers += [*cls.between(channels), UpConv2d(channels, fewer, padding), nn.LeakyReLU(inplace=True)]
        return nn.Sequential(*layers[:-1])


@family("RES")
class Residual(Convolutional):
    """The same, with a residual block at every size."""

    @staticmethod
    def between(channels: int) -> list[nn.Module]:
        return [ResidualBlock(channels)]


class ResidualBlock(nn.Module):
    """Maps `[B, C, H, W]`, and what two 3×3 convolutions make of them, each after normalisation and LeakyReLU.

    The normalisation is that of each image over all its maps, without parameters (Ba et al. 2016): what it does depends
    neither on the batch nor on whether the network is trained or used.
    """

    def __init__(self, channels: int):
        super().__init__()
        layers = [_normalised_convolution(channels) for _ in range(2)]
        self.change = nn.Sequential(*(module for layer in layers for module in layer))

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.change(maps)


def _normalised_convolution(channels: int) -> list[nn.Module]:
    norm = nn.GroupNorm(1, channels, affine=False)
    return [norm, nn.LeakyReLU(inplace=True), nn.Conv2d(channels, channels, 3, padding=1)]


class Planes(nn.Module):
    """Rows `[B, C·H·W]` as images `[B, C, H, W]`; one operation when exported, where `nn.Unflatten` is ten."""

    def __init__(self, planes: Shape):
        super().__init__()
        self.planes = planes

    def forward(self, rows: Tensor) -> Tensor:
        return rows.reshape(-1, *self.planes)


def _feature_maps(depth: int, planes: Shape, widths: Networks) -> list[Shape]:
    """Shapes from the image to the smallest feature map."""
    sizes = [planes]
    for i in range(depth):
        _, height, width = sizes[-1]
        sizes.append((max(1, round(widths.base_channels * 2**i)), ceil(height / 2), ceil(width / 2)))
    return sizes
