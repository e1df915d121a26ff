from itertools import pairwise

import pytest
import torch
from torch import nn

from vae.models import convolution
from vae.models.convolution import UpConv2d, arrange
from vae.training.products import by_products


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


@pytest.mark.parametrize("channels", [(1, 16), (3, 2), (16, 32)])
@pytest.mark.parametrize("size", [(28, 28), (7, 4), (1, 2), (5, 3)])
def test_a_convolution_as_a_product_is_the_convolution_with_its_gradients(channels, size):
    few, many = channels[1], channels[0]
    padding = tuple(1 - extent % 2 for extent in size)
    model = nn.Sequential(nn.Conv2d(many, few, 5, 2, 2), nn.LeakyReLU(), UpConv2d(few, many, padding)).double()
    images = torch.randn(4, many, *size, dtype=torch.double, requires_grad=True)
    leaves = [images, *model.parameters()]
    wanted = model(images)
    gradient = torch.randn_like(wanted)
    expected = torch.autograd.grad(wanted, leaves, gradient)
    by_products(model)
    output = model(images)
    torch.testing.assert_close(output, wanted)
    for computed, exact in zip(torch.autograd.grad(output, leaves, gradient), expected, strict=True):
        torch.testing.assert_close(computed, exact)


def test_a_convolution_of_another_kind_is_not_made_a_product():
    class Own(nn.Conv2d):
        """Of a family of one's own, which may compute something else."""

    kinds = [nn.Conv2d(2, 2, 3, 1, 1), nn.Conv2d(2, 2, 5, 2, 2, groups=2), Own(2, 2, 5, 2, 2), nn.Conv2d(2, 2, 5, 2, 2)]
    by_products(nn.Sequential(*kinds))
    assert ["forward" in vars(layer) for layer in kinds] == [False, False, False, True]
