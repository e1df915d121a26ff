"""The claims on the parts of the loss, each on tables that are made so that it holds, or does not; and their figure."""

import re
from itertools import product
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from test_claims import shown, table

from vae.analysis import effects, rate_distortion, swap
from vae.analysis.claims import answer, verdicts
from vae.analysis.table import base
from vae.grid import Network
from vae.report.figures import FIGURES, nats

NETWORKS = ["DNN1", "DNN4", "CNN1", "CNN4"]


def deep(name):
    return Network.parse(name).depth > 1


def gaps(train=lambda encoder: 2.0, grows=lambda encoder: 0.5, seeds=3):
    """A table with the amortisation gaps that these say of an encoder, and noise of seeds."""
    rng = np.random.default_rng(0)
    rows = table(networks=NETWORKS, seeds=seeds, sizes=[32])
    noise = rng.normal(0, 0.1, (2, len(rows)))
    rows["train_amortisation_gap"] = rows["encoder"].map(train) + noise[0]
    rows["generalisation_gap"] = rows["encoder"].map(grows) + noise[1]
    rows["amortisation_gap"] = rows["train_amortisation_gap"] + rows["generalisation_gap"]
    return rows.assign(approximation_gap=3.0, log_evidence=-100.0 + noise[0])


def swapped(infers=0.0, trained=0.0, seeds=3):
    """A table of the encoder swap, in which deep encoders lose so much more where they infer, or trained."""
    rng = np.random.default_rng(0)
    rows = [
        {"latent_size": 32, "encoder": i, "decoder": decoder, "trained_with": j, "seed": seed,
         "loss": 100 + infers * deep(i) + trained * deep(j) + rng.normal(0, 0.1)}
        for i, j, decoder, seed in product(NETWORKS, NETWORKS, ["DNN1", "CNN4"], range(seeds))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def sweep(above=0.0):
    """A sweep of beta in which dense decoders distort more by so much at equal rate."""
    rng = np.random.default_rng(1)
    parts = []
    for beta in (1.0, 2.0, 4.0):
        swept = {"objective.beta": beta, "effective_beta": beta, "variant": "" if beta == 1 else f"beta{beta:g}"}
        rows = gaps().assign(**swept)
        rate = 40 / (1 + beta)
        dense = rows["decoder"].str.startswith("DNN")
        # D' = -beta at D = 40 log(40 / R) + R, as beta = 40 / R - 1.
        rows["kld"] = rate
        rows["reconstruction"] = 40 * np.log(40 / rate) + rate + above * dense + rng.normal(0, 0.05, len(rows))
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def first(name, rows, swap=None):
    claims = verdicts.verdicts(base(rows), swap, rate_distortion.by_seed(rows))
    return claims[claims["claim"] == name].iloc[0]


@pytest.mark.parametrize(
    ("train", "verdict"),
    [
        (lambda name: 2.0, "supported"),
        (lambda name: 2.0 + (not deep(name)), "contradicted"),
        (lambda name: 2.0 - (not deep(name)), "supported"),
        (lambda name: 2.0 + (name == "CNN1"), "contradicted"),
    ],
)
def test_simple_encoders_lose_nothing_where_their_gap_is_no_larger(train, verdict):
    row = first("amortisation", gaps(train))
    assert (row["verdict"], row["of"], row["figure"]) == (verdict, "answer", "loss_decomposition")
    excess = max(train(f"{family}1") - train(f"{family}4") for family in ("DNN", "CNN"))
    assert row["value"] == pytest.approx(0.5 - excess, abs=0.1)


def test_gaps_of_models_that_are_not_trained_are_left_out():
    rows = gaps(lambda name: 2.0 + (name == "CNN1"))
    flagged = rows.assign(slack=np.where(rows["encoder"] == "CNN4", 0.8, 0.1))
    assert [first("amortisation", table)["verdict"] for table in (rows, flagged)] == ["contradicted", "supported"]


@pytest.mark.parametrize(
    ("grows", "verdict"),
    [
        (lambda name: 0.5 + deep(name), "supported"),
        (lambda name: 0.5, "equivalent"),
        (lambda name: 2.0 - deep(name), "contradicted"),
    ],
)
def test_complex_encoders_lose_on_test_images_what_their_gap_grows_by(grows, verdict):
    assert first("generalisation", gaps(grows=grows))["verdict"] == verdict


@pytest.mark.parametrize(
    ("infers", "trained", "verdict"), [(3, 0, "supported"), (0, 3, "contradicted"), (1, 1, "equivalent")]
)
def test_who_infers_and_who_trained_are_told_apart(infers, trained, verdict):
    assert first("who_infers", gaps(), swapped(infers, trained))["verdict"] == verdict


@pytest.mark.parametrize(("above", "verdict"), [(2.0, "supported"), (0.0, "equivalent"), (-2.0, "contradicted")])
def test_decoders_are_compared_at_equal_rate(above, verdict):
    row = first("rate_and_decoder", sweep(above))
    assert row["verdict"] == verdict
    assert row["value"] == pytest.approx(above, abs=0.1)


def test_what_was_not_measured_is_not_claimed_or_undecided_with_the_reason(tmp_path):
    assert set(verdicts.verdicts(table(networks=NETWORKS))["of"]) == {"paper"}
    claims = verdicts.verdicts(gaps())
    answers = claims[claims["of"] == "answer"].set_index("claim")
    assert set(answers.index) == set(answer.ANSWERS)
    assert answers.loc["who_infers", "reason"] == "no encoder was fitted to the decoder of another"
    assert answers.loc["rate_and_decoder", "verdict"] == "undecided"
    text = shown(claims, gaps(), tmp_path)
    assert text.index("Claims on inference gaps") < text.index("Claims of the paper")
    assert "Of 10 claims of the paper" in text


def test_the_parts_of_a_loss_add_up_to_it():
    rows = gaps()
    of = nats.parts(rows)
    total = of["misfit"] + of["approximation_gap"] + of["train_amortisation_gap"] + of["generalisation_gap"]
    np.testing.assert_allclose(total, of["loss"])
    assert of["misfit"].min() == 0
    known = nats.parts(rows.assign(misfit=7.0))
    assert (known["misfit"] == 7).all()


def test_bars_are_as_high_as_the_losses_and_hatched_where_training_stopped_early():
    rows = gaps(grows=lambda name: -0.2).assign(slack=lambda rows: np.where(rows["encoder"] == "CNN4", 0.8, 0.1))
    page, axes = plt.subplots()
    models = rows[(rows["encoder"] == "CNN4") & (rows["decoder"] == "DNN1")]
    nats._bar(axes, 0, 1, nats.parts(models))
    assert sum(bar.get_height() for bar in axes.patches) == pytest.approx(nats.parts(models)["loss"].mean())
    assert {bar.get_hatch() for bar in axes.patches} == {"///"}
    nats._bar(axes, 2, 1, nats.parts(rows[(rows["encoder"] == "DNN1") & (rows["decoder"] == "DNN1")]))
    assert axes.patches[-1].get_hatch() in ("", None)
    plt.close(page)


def test_the_figure_has_bars_a_heat_map_a_decoder_and_curves_where_they_were_measured():
    models = sweep(1.0)
    rows = base(models)
    study = SimpleNamespace(
        rows=rows,
        labels=pd.DataFrame({"reconstruction": [1.0]}),
        effects=effects.shares(rows.assign(frechet_distance=np.nan)),
        swap=swapped(1.0),
        curves=rate_distortion.curves(models),
    )
    bars, maps, curves = FIGURES["loss_decomposition"](study)
    assert len(bars.axes[0].patches) == len(nats.PARTS) * len(NETWORKS) ** 2
    assert re.search(r"the decoder explains \d+% of the variance of the ELBO", bars.get_suptitle())
    assert [axes.get_title() for axes in maps.axes] == ["decoder DNN1", "decoder CNN4"]
    assert max(float(text.get_text()) for text in maps.axes[0].texts) == pytest.approx(1, abs=0.4)
    assert len(curves.axes[0].lines) == 2 * 2 * len(NETWORKS)  # of two encoders, a line and its points
    study.swap, study.curves = swapped().iloc[:0], {}
    assert len(FIGURES["loss_decomposition"](study)) == 1
    study.rows = rows.drop(columns="amortisation_gap")
    (empty,) = FIGURES["loss_decomposition"](study)
    assert "no gap was measured" in empty.texts[0].get_text()
    plt.close("all")


def test_networks_stand_from_simple_to_deep():
    assert nats.by_complexity(pd.Series(["CNN4", "DNN1", "LIN", "CNN1"])) == ["LIN", "CNN1", "DNN1", "CNN4"]


def test_the_table_of_the_swap_has_what_claims_and_figure_need():
    assert set(swapped().columns) <= set(swap.COLUMNS)
