from itertools import pairwise

import pytest
import torch
from torch import nn

from vae.models import convolution
from vae.models.convolution import UpConv2d, arrange


@pytest.mark.parametrize("channels", [(3, 1), (16, 8), (32, 16), (2, 15)])
@pytest.mark.parametrize(
    ("size", "padding"), [((14, 14), (1, 1)), ((7, 4), (0, 1)), ((1, 2), (1, 0)), ((1, 1), (0, 0))]
)
def test_the_fast_layer_is_the_transposed_convolution_with_its_gradients(channels, size, padding):
    layer = UpConv2d(*channels, padding).double()
    features = torch.randn(4, channels[0], *size, dtype=torch.double, requires_grad=True)
    output, wanted = layer(features), nn.ConvTranspose2d.forward(layer, features)
    assert output.shape == wanted.shape
    torch.testing.assert_close(output, wanted)
    gradient = torch.randn_like(wanted)
    leaves = [features, *layer.parameters()]
    for computed, expected in zip(*(torch.autograd.grad(y, leaves, gradient) for y in (output, wanted)), strict=True):
        torch.testing.assert_close(computed, expected)


def test_only_few_channels_take_the_other_way_and_no_export_does(monkeypatch):
    taken = []
    apply = convolution._SubPixel.apply
    monkeypatch.setattr(convolution._SubPixel, "apply", lambda *args: taken.append(1) or apply(*args))
    features = torch.zeros(1, 4, 3, 3)
    UpConv2d(4, 16, (1, 1))(features)
    torch.jit.trace(UpConv2d(4, 1, (1, 1)).eval(), features, check_trace=False)
    torch.export.export(UpConv2d(4, 1, (1, 1)).eval(), (features,))
    assert not taken
    UpConv2d(4, 1, (1, 1))(features)
    assert taken


def test_channels_last_from_a_register_of_channels_on_both_ends():
    def order(*channels):
        layers = [nn.Conv2d(a, b, 5) for a, b in pairwise(channels)]
        side = nn.Sequential(*layers)
        arrange(side)
        return [layer.weight.is_contiguous(memory_format=torch.channels_last) for layer in layers]

    assert order(3, 16) == [False]
    assert order(3, 8, 16) == [False, False]
    assert order(3, 16, 32) == [True, True]
