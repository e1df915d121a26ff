from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vae.errors import UserError
from vae.grid import Network, Spec
from vae.models.families import FAMILIES, ResidualBlock
from vae.models.flops import estimated_flops, flops
from vae.models.networks import Networks
from vae.models.vae import as_inputs, build, check, parameters, to_planes

WIDTHS = Networks(hidden_units=8, base_channels=2)
SHAPES = [(28, 28), (3, 32, 32), (1, 28, 28), (17, 30), (4, 5, 9)]


def deepest(family, shape):
    return FAMILIES[family].deepest(to_planes(shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_depth_of_every_family_fits_the_image(family, shape):
    for depth in range(FAMILIES[family].shallowest, deepest(family, shape) + 1):
        network = Network(family, depth)
        model = build(Spec(3, network, network), shape, WIDTHS, seed=0)
        images = torch.randint(0, 256, (2, *shape), dtype=torch.uint8)
        mean, log_variance = model.encoder(as_inputs(images))
        assert mean.shape == log_variance.shape == (2, 3)
        assert model.decoder(mean).shape == (2, *to_planes(shape))


@pytest.mark.parametrize(
    ("shape", "depth"), [((28, 28), 5), ((3, 32, 32), 5), ((3, 33, 64), 6), ((2, 2), 1), ((1, 28), 0)]
)
def test_the_deepest_cnn_halves_the_shorter_side_to_one(shape, depth):
    assert deepest("CNN", shape) == depth


def test_a_block_too_many_and_an_unknown_family_are_refused():
    with pytest.raises(UserError, match="CNN6: too deep; CNN5 is the deepest CNN for images of 28×28"):
        check(Network("CNN", 6), (28, 28))
    with pytest.raises(UserError, match="DNN17: too deep"):
        check(Network("DNN", 17), (28, 28))
    with pytest.raises(UserError, match="LIN1: too deep; LIN is the deepest LIN"):
        check(Network("LIN", 1), (28, 28))
    for family in ("DNN", "CNN", "RES"):
        with pytest.raises(UserError, match=f"{family}: has no depth; {family}1 is the shallowest {family}"):
            check(Network(family, 0), (1, 28))
    with pytest.raises(UserError, match="unknown family RNN; known are LIN, DNN, CNN, RES"):
        check(Network("RNN", 1), (28, 28))


def test_flops_to_plan_with_are_those_and_of_other_layers_what_torch_counts():
    dense = build(Spec.parse("L3_DNN2_DNN2"), (28, 28), WIDTHS, 0).decoder
    assert estimated_flops(dense, torch.zeros(5, 3)) == flops(dense, torch.zeros(5, 3))
    other = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Unflatten(1, (1, 8)), nn.Conv1d(1, 2, 1))
    assert flops(other, torch.zeros(5, 3)) is None
    assert estimated_flops(other, torch.zeros(5, 3)) == 2 * (3 * 8 + 2 * 8)
    assert other.training


def test_layers_are_counted_as_documented():
    """Weights of n layers and of the one linear map that is not counted."""
    dense = build(Spec.parse("L3_DNN4_DNN4"), (28, 28), WIDTHS, 0)
    assert parameters(dense.encoder) == (784 * 8 + 8) + 3 * (8 * 8 + 8) + (8 * 6 + 6)
    assert parameters(dense.decoder) == (3 * 8 + 8) + 3 * (8 * 8 + 8) + (8 * 784 + 784)
    convolutional = build(Spec.parse("L3_CNN2_CNN2"), (28, 28), WIDTHS, 0)
    assert parameters(convolutional.encoder) == (25 * 2 + 2) + (25 * 2 * 4 + 4) + (4 * 49 * 6 + 6)
    assert parameters(convolutional.decoder) == (3 * 196 + 196) + (25 * 4 * 2 + 2) + (25 * 2 + 1)
    linear = build(Spec.parse("L3_LIN_LIN"), (28, 28), WIDTHS, 0)
    assert parameters(linear.encoder) == 784 * 6 + 6
    assert parameters(linear.decoder) == 3 * 784 + 784
    residual = build(Spec.parse("L3_RES2_RES2"), (28, 28), WIDTHS, 0)
    blocks = 2 * (9 * 2 * 2 + 2) + 2 * (9 * 4 * 4 + 4)
    assert parameters(residual.encoder) == parameters(convolutional.encoder) + blocks
    assert parameters(residual.decoder) == parameters(convolutional.decoder) + blocks


def test_a_linear_vae_is_linear_on_both_sides():
    model = build(Spec.parse("L3_LIN_LIN"), (28, 28), replace(WIDTHS, initialisation="he", projection=7), 0)
    for side, size in ((lambda x: torch.cat(model.encoder(x), 1), (1, 28, 28)), (model.decoder, (3,))):
        x, y = torch.rand(2, 1, *size)
        first, second, zero = side(x), side(y), side(torch.zeros(1, *size))
        torch.testing.assert_close(side(2 * x - 3 * y) - zero, 2 * (first - zero) - 3 * (second - zero))


def test_a_residual_block_begins_as_the_identity_and_then_changes_its_maps():
    model = build(Spec.parse("L3_RES1_CNN1"), (28, 28), replace(WIDTHS, initialisation="he"), 0)
    (block,) = (module for module in model.modules() if isinstance(module, ResidualBlock))
    maps = torch.randn(4, 2, 14, 14)
    assert torch.equal(block(maps), maps)
    nn.init.normal_(block.change[-1].weight)
    assert not torch.allclose(block(maps), maps)
    # No image has a part in what another becomes.
    torch.testing.assert_close(block(maps)[:1], block(maps[:1]))


def test_a_projection_gives_all_encoders_as_many_features():
    for name in ("DNN2", "CNN1", "CNN3", "RES2"):
        model = build(Spec.parse(f"L3_{name}_DNN1"), (28, 28), replace(WIDTHS, projection=5), 0)
        assert model.encoder.heads.in_features == 5
        assert model.encoder(torch.rand(2, 1, 28, 28))[0].shape == (2, 3)


def test_the_seed_decides_the_weights_and_nothing_else_is_touched():
    spec = Spec.parse("L3_CNN1_DNN1")
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    first, second, different = (build(spec, (28, 28), WIDTHS, seed).state_dict() for seed in (5, 5, 6))
    assert torch.equal(torch.rand(3), wanted)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], different[name]) for name in first)


def test_bytes_become_grey_levels():
    images = torch.tensor([[[0, 51], [255, 102]]], dtype=torch.uint8)
    assert as_inputs(images).flatten().tolist() == pytest.approx([0, 0.2, 1, 0.4])


@pytest.mark.parametrize(
    ("label", "widths", "mega"),
    [("L32_DNN1_DNN1", Networks(512, 32), 0.868352), ("L32_CNN1_DNN1", Networks(512, 32), 1.090112)],
)
def test_flops_of_known_encoders(label, widths, mega):
    """784·512 + 512·64 products; and 67 taps of 5 within 28 pixels at stride 2, squared, for 32 channels, + 6272·64."""
    model = build(Spec.parse(label), (28, 28), widths, 0)
    assert flops(model.encoder, torch.zeros(3, 1, 28, 28)) == mega * 1e6


def test_flops_are_those_of_torch_but_for_the_padding():
    """A transposed convolution does the products of the convolution that it mirrors."""
    model = build(Spec.parse("L8_CNN3_CNN3"), (28, 28), WIDTHS, 0)
    with FlopCounterMode(display=False) as counter:
        model.encoder(torch.zeros(1, 1, 28, 28))
    encoder, decoder = flops(model.encoder, torch.zeros(1, 1, 28, 28)), flops(model.decoder, torch.zeros(1, 8))
    assert 0.7 * counter.get_total_flops() < encoder < counter.get_total_flops()
    features = 8 * 16
    assert encoder - 2 * features * 16 == decoder - 2 * features * 8


def test_where_not_all_products_can_be_counted_there_is_no_number():
    class Recurrent(nn.Sequential):
        def forward(self, images):
            return super().forward(images.flatten(1))[0]

    assert flops(nn.Sequential(nn.Flatten(), nn.Linear(784, 5)), torch.zeros(1, 1, 28, 28)) == 2 * 784 * 5
    assert flops(Recurrent(nn.Linear(784, 5), nn.GRU(5, 5)), torch.zeros(1, 1, 28, 28)) is None
