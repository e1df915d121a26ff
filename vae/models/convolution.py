"""Convolutions as a CPU computes them fastest: the same numbers up to rounding, another order of work.

torch's transposed convolution is slow on a CPU where it answers few channels, as the last one of a decoder does: most
lanes of a vector register stay empty. Its output splits into four images, one for each parity of row and column, and
all four are one convolution of the input at the input's own size (sub-pixel convolution, Shi et al. 2016): every output
position meets only kernel positions of its own parity. The gradients are those of the transposed convolution itself,
which torch computes fast. Measured in benchmarks/README.md.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

# Channels that fill a vector register: 16 float32 in AVX-512.
REGISTER = 16


def by_parity(weight: Tensor) -> Tensor:
    """The taps of 5×5 kernels with stride 2 and padding 2, `[..., 5, 5]`, as `[..., 3, 2, 3, 2]`.

    Those are, for rows and for columns, the offsets -1, 0, 1 of an input and the parities of the output that it joins;
    for an odd one, the first is none, which is zero.
    """
    padded = F.pad(weight, (0, 1, 0, 1))
    return padded.unflatten(-1, (3, 2)).unflatten(-3, (3, 2)).flip(-4, -2)


class UpConv2d(nn.ConvTranspose2d):
    """A transposed convolution, 5×5 with stride 2 and padding 2, fast on a CPU, and torch's own when exported."""

    def __init__(self, in_channels: int, out_channels: int, output_padding: tuple[int, int]):
        super().__init__(in_channels, out_channels, 5, stride=2, padding=2, output_padding=output_padding)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Features `[B, in_channels, H, W]` to `[B, out_channels, 2H - 1 + p, 2W - 1 + q]`, p and q the padding."""
        exporting = torch.jit.is_tracing() or torch.compiler.is_compiling()
        if exporting or output_size or input.device.type != "cpu" or self.out_channels >= REGISTER:
            return super().forward(input, output_size)
        tensors: list[Any] = [input, self.weight, self.bias]
        if torch.is_autocast_enabled("cpu"):  # casts in a function's forward pass alone, not in its backward pass
            tensors = [tensor.to(torch.get_autocast_dtype("cpu")) for tensor in tensors]
        return _SubPixel.apply(*tensors, self.output_padding)


class _SubPixel(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(features: Tensor, weight: Tensor, bias: Tensor, output_padding: tuple[int, int]) -> Tensor:
        height, width = (2 * size - 1 + extra for size, extra in zip(features.shape[2:], output_padding, strict=True))
        inputs, outputs = weight.shape[:2]
        kernel = by_parity(weight).permute(1, 3, 5, 0, 2, 4).reshape(4 * outputs, inputs, 3, 3)
        parities = F.conv2d(features, kernel, padding=1)
        return F.pixel_shuffle(parities, 2)[..., :height, :width] + bias[:, None, None]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        (gradient,) = gradients
        features, weight = ctx.saved_tensors
        return (
            F.conv2d(gradient, weight, stride=2, padding=2),
            conv2d_weight(gradient, weight.shape, features, stride=2, padding=2),
            gradient.sum((0, 2, 3)),
            None,
        )


def arrange(side: nn.Module) -> None:
    """Put the weights of an encoder or a decoder into channels-last order where that is faster on a CPU.

    It is as soon as one convolution has enough channels on both ends: the layers hand such maps on without reordering.
    """
    layers = (layer for layer in side.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d))
    if any(min(layer.in_channels, layer.out_channels) >= REGISTER for layer in layers):
        side.to(memory_format=torch.channels_last)


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """Convolutions of float32 proper on a GPU, where torch's own default is tf32; a trace keeps which it was."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
