"""Initial weights: how the variance of signals fares from layer to layer, and what they are drawn from."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from vae import seeds
from vae.grid import Network, Spec
from vae.measures import baselines
from vae.models.convolution import UpConv2d
from vae.models.initialisation import HEADS, LOGITS, WITH_WEIGHTS, inputs
from vae.models.networks import Networks
from vae.models.vae import build

SHAPE = (28, 28)
HE = Networks(hidden_units=128, base_channels=16, initialisation="he")
TORCH = replace(HE, initialisation="torch")
LAST = {"encoder": HEADS, "decoder": LOGITS}


def build_pair(network, networks, seed=0):
    return build(Spec(16, Network.parse(network), Network.parse(network)), SHAPE, networks, seed)


def variances(side, network, networks):
    """The variance of what every layer with weights answers to standard normal inputs, the mean over three models."""
    return torch.tensor([_variances(side, network, networks, seed) for seed in range(3)]).mean(0).tolist()


def _variances(side, network, networks, seed):
    module, answers = getattr(build_pair(network, networks, seed), side), []
    for layer in module.modules():
        if isinstance(layer, WITH_WEIGHTS):
            # Before LeakyReLU changes it in place.
            layer.register_forward_hook(lambda _, inputs, output: answers.append(output.square().mean().item()))
    shape = (1, *SHAPE) if side == "encoder" else (16,)
    with torch.no_grad():
        module(torch.randn(100, *shape, generator=torch.Generator().manual_seed(seed)))
    return answers


@pytest.mark.parametrize("side", LAST)
@pytest.mark.parametrize(("network", "lost"), [("DNN4", 1.3), ("CNN4", 2.4)])
def test_signals_keep_their_variance_with_he_and_lose_it_with_torch(side, network, lost):
    """Before a LeakyReLU it is twice that of the inputs; what is lost is lost at the borders of small maps."""
    *hidden, last = variances(side, network, HE)
    assert len(hidden) == 4
    assert 1.7 < hidden[0] < 2.4
    assert all(before / lost < after < 1.3 * before for before, after in pairwise(hidden))
    # The last layer, with a gain of its own, sees half of its inputs at zero.
    assert hidden[-1] / 2 / lost < last / LAST[side] ** 2 < hidden[-1] / 2 * 1.3
    *hidden, last = variances(side, network, TORCH)
    assert all(after < before / 2.5 for before, after in pairwise(hidden[:3]))
    assert hidden[-1] < hidden[0] / 60


@pytest.mark.parametrize("network", ["DNN4", "CNN4"])
def test_biases_begin_at_zero_and_weights_do_not(network):
    for name, value in build_pair(network, HE).named_parameters():
        assert bool(value.any()) == name.endswith("weight"), name


def test_a_layer_sums_over_its_inputs():
    assert inputs(nn.Linear(30, 7)) == 30
    assert inputs(nn.Conv2d(3, 8, 5, stride=2)) == 75
    assert inputs(nn.Conv2d(6, 9, 5, groups=3)) == 50
    # Of 25 taps, one output sees a quarter: the stride is 2 both ways.
    assert inputs(UpConv2d(16, 3, (0, 0))) == 16 * 25 / 4
    assert inputs(nn.ConvTranspose2d(6, 9, 4, stride=(2, 1))) == 6 * 16 / 2


def test_a_transposed_convolution_answers_with_the_variance_that_its_inputs_say():
    layer, generator = UpConv2d(32, 4, (1, 1)), torch.Generator().manual_seed(0)
    with torch.no_grad():
        layer.weight.normal_(generator=generator)
        answers = layer(torch.randn(50, 32, 12, 12, generator=generator)) - layer.bias[:, None, None]
    assert answers[..., 4:-4, 4:-4].square().mean().item() == pytest.approx(inputs(layer), rel=0.1)


@pytest.mark.parametrize("networks", [HE, TORCH], ids=["he", "torch"])
def test_a_model_is_drawn_from_its_seed_alone(networks):
    torch.manual_seed(1)
    before, first = torch.get_rng_state(), build_pair("CNN2", networks).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    second, third = (build_pair("CNN2", networks, seed).state_dict() for seed in (0, 1))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert all(not torch.equal(value, third[name]) for name, value in first.items() if name.endswith("weight"))


@pytest.mark.parametrize("scheme", ["he", "torch"])
@pytest.mark.parametrize("parameters", [None, 30_000])
def test_the_untrained_encoder_is_that_which_training_starts_from(scheme, parameters):
    """Whatever the decoder is, and also where the widths come from a number of parameters."""
    networks = Networks(32, 4, parameters, parameters, scheme)
    for decoder in ("DNN1", "CNN4"):
        spec = Spec(5, Network("CNN", 2), Network.parse(decoder))
        model = build(spec, SHAPE, networks, seeds.of_model("weights", 3)).encoder.state_dict()
        initial = baselines.initial(spec.encoder, 5, (1, *SHAPE), networks, 3).state_dict()
        assert model.keys() == initial.keys()
        assert all(torch.equal(value, initial[name]) for name, value in model.items())
