"""The strided convolutions of a stack as batched products, one kernel for all its models.

`torch.vmap` makes a grouped convolution of those of all models, which cuDNN computes group after group, each far too
small for a GPU. Here the patches of the maps are laid out as rows (im2col), and a convolution is a product with its
weights, which a GPU computes for all models at once. A transposed convolution, and the gradient of one, is the
sub-pixel convolution of `vae.models.convolution`. Maps are channels-last, `[B, H, W, C]`. Measured in
benchmarks/README.md.
"""

from math import gcd
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae.models.convolution import UpConv2d, by_parity

# A sum over all places of all images has few results, each computed by one part of a GPU: it is taken in so many parts.
PARTS = 16


def by_products(model: nn.Module) -> None:
    """Have the strided 5×5 convolutions of a model, and the transposed ones, compute as products."""
    for layer in model.modules():
        if type(layer) is UpConv2d:
            layer.forward = MethodType(_up, layer)  # type: ignore[method-assign]
        elif type(layer) is nn.Conv2d and _geometry(layer) == ((5, 5), (2, 2), (2, 2), (1, 1), 1, "zeros"):
            layer.forward = MethodType(_down, layer)  # type: ignore[method-assign]


def _geometry(layer: nn.Conv2d) -> tuple:
    return layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups, layer.padding_mode


def _down(layer: nn.Conv2d, features: Tensor) -> Tensor:
    return _finished(_Down.apply(*_cast(features.permute(0, 2, 3, 1), layer.weight)), layer)


def _up(layer: UpConv2d, features: Tensor) -> Tensor:
    size = [2 * size - 1 + extra for size, extra in zip(features.shape[2:], layer.output_padding, strict=True)]
    return _finished(_Up.apply(*_cast(features.permute(0, 2, 3, 1), layer.weight), *size), layer)


def _finished(maps: Tensor, layer: nn.Conv2d | UpConv2d) -> Tensor:
    return (maps if layer.bias is None else maps + layer.bias.to(maps.dtype)).permute(0, 3, 1, 2)


def _cast(maps: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Both at the precision that `torch.autocast` computes products at, as it would do to those of a layer itself."""
    kind = maps.device.type
    if not (torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)):
        return maps, weight
    precision = torch.get_autocast_dtype(kind)
    return maps.to(precision), weight.to(precision)


def _im2col(maps: Tensor, size: int, stride: int) -> Tensor:
    """The patches that a kernel of this size, padded by half of it, is multiplied with: `[B, h, w, size² · C]`."""
    half = size // 2
    padded = F.pad(maps, (0, 0, half, half, half, half))
    return padded.unfold(1, size, stride).unfold(2, size, stride).permute(0, 1, 2, 4, 5, 3).flatten(3)


def _narrowed(patches: Tensor, weight: Tensor) -> Tensor:
    """The convolution of these patches by `weight` `[few, many, 5, 5]`: `[B, ⌈H/2⌉, ⌈W/2⌉, few]`."""
    return patches @ weight.permute(2, 3, 1, 0).flatten(0, 2)


def _widened(maps: Tensor, weight: Tensor, height: int, width: int) -> Tensor:
    """The transposed convolution of `[B, h, w, few]` by the same weight: `[B, height, width, many]`."""
    kernel = by_parity(weight).permute(2, 4, 0, 3, 5, 1).flatten(0, 2).flatten(1)
    parities = _im2col(maps, 3, 1) @ kernel
    whole = parities.unflatten(3, (2, 2, -1)).permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2)
    return whole[:, :height, :width]


def _of_weight(few: Tensor, patches: Tensor) -> Tensor:
    """The gradient of the weight that joins maps `[B, h, w, few]` to patches of the others: `[few, many, 5, 5]`."""
    rows, columns = few.flatten(0, 2), patches.flatten(0, 2)
    parts = gcd(len(rows), PARTS)
    product = (rows.unflatten(0, (parts, -1)).mT @ columns.unflatten(0, (parts, -1))).sum(0)
    return product.unflatten(1, (5, 5, -1)).permute(0, 3, 1, 2)


class _Down(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(maps: Tensor, weight: Tensor) -> Tensor:
        return _narrowed(_im2col(maps, 5, 2), weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor]:
        (gradient,) = gradients
        maps, weight = ctx.saved_tensors
        wanted = _widened(gradient, weight, *maps.shape[1:3]) if ctx.needs_input_grad[0] else None
        return wanted, _of_weight(gradient, _im2col(maps, 5, 2))


class _Up(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(maps: Tensor, weight: Tensor, height: int, width: int) -> Tensor:
        return _widened(maps, weight, height, width)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (gradient,) = gradients
        maps, weight = ctx.saved_tensors
        patches = _im2col(gradient, 5, 2)
        return _narrowed(patches, weight), _of_weight(maps, patches), None, None
