"""How far models are from their optimum at the least, on tables of which the answer is known."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae.analysis import certificate


def config(sweep=(), tune=(), **networks):
    """What the certificate reads of a config."""
    return {
        "grid": {"sweep": {key: [] for key in sweep}, "tune": {key: [] for key in tune}},
        "networks": {"encoder_parameters": None, "decoder_parameters": None} | networks,
    }


def model(distortion, rate, beta=1.0, latent_size=2, **columns):
    networks = {"encoder": "DNN1", "decoder": "CNN2"}
    measured = {"train_reconstruction": distortion, "train_kld": rate, "effective_beta": beta}
    return networks | measured | {"latent_size": latent_size} | columns


def slack(*models, **given):
    return certificate.slack(pd.DataFrame(list(models)), config(**given)).tolist()


def test_the_only_model_of_an_architecture_has_no_slack():
    assert slack(model(100, 10)) == [0]
    others = [model(1, 1, encoder="DNN2"), model(1, 1, decoder="DNN1")]
    assert slack(model(100, 10), *others) == [0, 0, 0]


def linear(variances, beta, latent_size, least=50.0):
    """The optimum of a linear VAE: what of each principal direction is coded, and what is lost of it."""
    coded, lost = variances[:latent_size], variances[latent_size:]
    rate = np.log(np.maximum(coded / beta, 1)).sum() / 2
    return model(least + np.minimum(coded, beta).sum() / 2 + lost.sum() / 2, rate, beta, latent_size)


SPECTRUM = np.array([40.0, 12.0, 5.0, 1.5, 0.6, 0.2])
BETAS = (0.1, 0.5, 1.0, 3.0, 10.0, 100.0)


def test_linear_vaes_at_their_optima_have_no_slack_at_any_weight_of_the_kld_or_size():
    models = [linear(SPECTRUM, beta, size) for beta in BETAS for size in (1, 2, 4, 6)]
    assert slack(*models, sweep=["objective.beta"]) == pytest.approx([0] * len(models), abs=1e-9)


@given(
    st.integers(0, 23),
    st.floats(0.01, 50),
    st.sampled_from(["train_reconstruction", "train_kld"]),
    st.sampled_from(["same", "beta", "size"]),
)
def test_what_a_model_is_worse_by_is_its_slack(index, more, term, beside):
    """Where its optimum is there, of the same size and weight; at least nearly, where only its neighbours are."""
    models = [linear(SPECTRUM, beta, size) for beta in BETAS for size in (1, 2, 4, 6)]
    perturbed = dict(models[index])
    perturbed[term] += more
    lost = more * (perturbed["effective_beta"] if term == "train_kld" else 1)
    if beside == "same":
        assert slack(*models, perturbed)[-1] == pytest.approx(lost)
        return
    same = {"beta": "effective_beta", "size": "latent_size"}[beside]
    rest = [each for each in models if each[same] != perturbed[same]]
    # All of it is certain from an optimum of the model's own, and less from those of others.
    assert -1e-9 <= slack(*rest, perturbed)[-1] <= lost + 1e-9


def test_the_slack_is_measured_under_the_objective_of_the_model():
    """By models of the same size and weight, of another weight, and of a smaller size."""
    worse = model(100, 10, beta=2.0, latent_size=4)
    assert slack(worse, model(97, 10, beta=2.0, latent_size=4)) == [3, 0]
    # 100 + 2 · 10 against 104 + 2 · 5; and under the other's own weight of 0.5, 100 + 5 against 104 + 2.5.
    assert slack(worse, model(104, 5, beta=0.5, latent_size=4)) == [6, 1.5]
    assert slack(worse, model(101, 8, beta=2.0, latent_size=2)) == [3, 0]
    assert slack(worse, model(99, 10, 2.0, 4), model(98, 9, 2.0, 4), model(104, 5, 0.5, 4))[0] == 6


def test_a_larger_latent_size_says_nothing_of_a_smaller():
    small, large = model(200, 10, latent_size=2), model(100, 10, latent_size=3)
    assert slack(small, large) == [0, 0]
    assert slack(model(100, 10, latent_size=2), model(200, 10, latent_size=3)) == [0, 100]


def test_a_model_that_diverged_has_none_and_gives_none():
    values = slack(model(100, 10), model(None, None), model(99, 10), model(float("nan"), 1), model(50, float("nan")))
    assert values[::2][:2] == [1, 0]
    assert np.isnan(values[1::2]).all()
    assert np.isnan(values[4])
    assert np.isnan(slack(model(None, None), model(None, None))).all()


def test_models_are_compared_across_what_only_training_depends_on():
    axes = {"objective.beta": [1, 2], "training.learning_rate": [0.1, 0.2], "networks.initialisation": ["he", "torch"]}
    for key, (first, second) in axes.items():
        assert slack(model(100, 10, **{key: first}), model(90, 10, **{key: second}), sweep=[key]) == [10, 0]


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("networks.hidden_units", (64, 256)),
        ("objective.sigma", (0.1, 0.2)),
        ("objective.likelihood", ("bernoulli", "gaussian")),
        ("networks.encoder_parameters", (None, 1000)),
    ],
)
def test_models_of_other_networks_or_likelihoods_are_not_compared(key, values):
    first, second = values
    rows = [model(100, 10, **{key: first}), model(90, 10, **{key: second}), model(80, 10, **{key: second})]
    assert slack(*rows, sweep=[key]) == [0, 10, 0]


@pytest.mark.parametrize("key", ["encoder_parameters", "decoder_parameters"])
def test_where_parameters_are_counted_only_models_of_the_same_size_are_compared(key):
    """A smaller latent size has wider layers then."""
    models = [model(100, 10, latent_size=4), model(90, 10, latent_size=2), model(99, 10, latent_size=4)]
    assert slack(*models) == [10, 0, 9]
    assert slack(*models, **{key: 40_000}) == [1, 0, 0]
    swept = [each | {f"networks.{key}": 40_000} for each in models]
    assert slack(*swept, sweep=[f"networks.{key}"]) == [1, 0, 0]
    assert slack(*swept, tune=[f"networks.{key}"]) == [1, 0, 0]
