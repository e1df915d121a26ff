"""The floating-point operations of a model."""

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@torch.inference_mode()
def flops(module: nn.Module, inputs: Tensor) -> int | None:
    """Floating-point operations of a forward pass for one of `inputs`, a multiplication and an addition counted as two.

    Counted are the products of linear and convolutional layers, without those with the zeros of a padding; biases,
    nonlinearities and normalisations are not. None where other layers have weights, whose products are not known.
    """
    counted: list[int] = []

    def count(layer: nn.Module, arguments: tuple[Tensor], output: Tensor) -> None:
        if isinstance(layer, nn.Linear):
            counted.append(layer.in_features * layer.out_features)
        elif isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            (maps,) = arguments
            taps = [_taps(layer, dimension, size) for dimension, size in enumerate(maps.shape[2:])]
            counted.append(layer.in_channels * layer.out_channels // layer.groups * prod(taps))

    counting = nn.Linear | nn.Conv2d | nn.ConvTranspose2d
    if any(not isinstance(layer, counting) and list(layer.parameters(recurse=False)) for layer in module.modules()):
        return None
    hooks = [layer.register_forward_hook(count) for layer in module.modules() if isinstance(layer, counting)]
    _forward(module, inputs)
    for hook in hooks:
        hook.remove()
    return 2 * sum(counted)


@torch.inference_mode()
def estimated_flops(module: nn.Module, inputs: Tensor) -> int:
    """The same, to plan with: where layers have other weights, of the products that torch counts."""
    counted = flops(module, inputs)
    if counted is None:
        with FlopCounterMode(display=False) as counter:
            _forward(module, inputs)
        counted = counter.get_total_flops()
    return counted


def _forward(module: nn.Module, inputs: Tensor) -> None:
    """As a trained model computes one of the inputs: a normalisation over the batch cannot train on one."""
    training = module.training
    module.eval()(inputs[:1])
    module.train(training)


def _taps(layer: nn.Conv2d | nn.ConvTranspose2d, dimension: int, size: int) -> int:
    """How many pairs of an input position and a kernel position meet along one dimension of a convolution."""
    ones, kernel = torch.ones(1, 1, size), torch.ones(1, 1, layer.kernel_size[dimension])
    options = {name: getattr(layer, name)[dimension] for name in ("stride", "padding", "dilation")}
    if isinstance(layer, nn.ConvTranspose2d):
        options["output_padding"] = layer.output_padding[dimension]
        return int(F.conv_transpose1d(ones, kernel, **options).sum())
    return int(F.conv1d(ones, kernel, **options).sum())
