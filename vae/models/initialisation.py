"""Initial weights of encoders and decoders.

`torch` leaves what PyTorch's layers begin with, of variance 1 / (3 · inputs): every layer with LeakyReLU then shrinks
the variance of its signal about sixfold, and a deep network begins near the collapsed one. `he` keeps that variance
from layer to layer (He et al. 2015); its last layers, which no LeakyReLU follows, have gains of their own.
"""

from math import prod, sqrt

import torch
from torch import nn

from vae.models.families import ResidualBlock

SLOPE = 0.01  # of LeakyReLU
WITH_WEIGHTS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
# Gains of the last layers, chosen on MNIST (ELBO, latent size 50, 220,000 images at a rate of 0.004): DNN4_DNN4 loses
# 115.5 nats with heads of 0.3 and 109.5 with 1; DNN1_DNN1 110.3 with logits of 1 and 109.1 with 0.1.
HEADS, LOGITS = 1.0, 0.1


@torch.no_grad()
def initialise(side: nn.Module, scheme: str, last: float) -> None:
    """Draw the weights of an encoder or a decoder by a scheme, `he` or `torch`, from torch's generator.

    With `he`, biases begin at zero, and `last` is the gain of the last layer; a residual block begins as the identity
    (Goyal et al. 2017), and layers that are neither linear nor convolutions of images begin as with `torch`. On the
    meta device there are no values to draw, and torch would import its compiler, a second of work, to find that out.
    """
    of_side = list(layers(side).values())
    if scheme == "torch" or not of_side or of_side[0].weight.is_meta:
        return
    *hidden, output = of_side
    for layer in [*hidden, output]:
        gain = last if layer is output else nn.init.calculate_gain("leaky_relu", SLOPE)
        layer.weight.normal_(0, gain / sqrt(inputs(layer)))
        if layer.bias is not None:
            layer.bias.zero_()
    for block in side.modules():
        if isinstance(block, ResidualBlock):
            *_, last_of_block = layers(block).values()
            last_of_block.weight.zero_()


def layers(module: nn.Module) -> dict[str, nn.Linear | nn.Conv2d | nn.ConvTranspose2d]:
    """The layers with weights, by name, in the order of the flow."""
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, WITH_WEIGHTS)}


def inputs(layer: nn.Module) -> float:
    """How many values each output of a layer is a sum over; of a transposed convolution, in the mean.

    Of any other layer of a family of the user's, by the largest of its own weights.
    """
    if isinstance(layer, nn.ConvTranspose2d):
        return layer.in_channels * prod(layer.kernel_size) / prod(layer.stride) / layer.groups
    return max(prod(weights.shape[1:]) for weights in layer.parameters(recurse=False))
