"""Each claim on tables that are made so that it holds, or does not; and how often verdicts are right."""

import re
import textwrap
from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from vae.analysis import effects, fidelity
from vae.analysis.blocks import estimate
from vae.analysis.claims import paper, testing, verdicts
from vae.analysis.claims.statistics import View
from vae.analysis.claims.testing import Parts
from vae.catalogue import FIGURES
from vae.report import pages

NETWORKS = ["DNN1", "DNN4", "CNN1", "CNN2", "CNN4"]
LATENT_SIZES = [25, 50, 100, 200]
# Of what diverged.
UNKNOWN = ["reconstruction", "validation_reconstruction", "kld", "elbo", "validation_elbo", "iwae_bound"]


def table(effect=lambda **model: {}, seeds=3, networks=NETWORKS, start=0, spread=0.5, noise=0.3, sizes=LATENT_SIZES):
    """A grid whose measures are noise, of architectures and of seeds, but for what `effect` says of a model."""
    rng = np.random.default_rng(start)
    rows = []
    for latent_size, encoder, decoder in product(sizes, networks, networks):
        base = rng.normal(100, spread)
        for seed in range(seeds):
            model = {"latent_size": latent_size, "encoder": encoder, "decoder": decoder, "base": base}
            row = {
                "reconstruction": base,
                "kld": 10.0 + rng.random(),
                "probe_accuracy_sampled": 0.8 + rng.normal(0, 0.05),
            }
            row |= effect(**model)
            row["probe_accuracy"] = row["probe_accuracy_sampled"]
            row["reconstruction"] += rng.normal(0, noise)
            row["validation_reconstruction"] = row["reconstruction"]
            row["elbo"] = row["validation_elbo"] = -row["reconstruction"] - row["kld"]
            row["iwae_bound"] = row["elbo"] + 1
            del model["base"]
            label = f"L{latent_size}_{encoder}_{decoder}"
            row |= {
                "probe_accuracy_untrained": 0.11,
                "probe_accuracy_pca": 0.22,
                "probe_accuracy_pixels": 0.33,
                "linear_kld": 1.0,
            }
            row |= {"collapsed_below": 1.0, "epochs": 4, "effective_beta": 784 / latent_size, "slack": 0.0}
            row |= {"label": label, "seed": seed, "status": "ok", "collapsed": row["kld"] < row["collapsed_below"]}
            rows.append(row | model)
    return pd.DataFrame(rows)


def better(condition, by=20):
    """An effect on the reconstruction of models that meet a condition."""
    return lambda base, **model: {"reconstruction": base - by * condition(**model)}


def collapsed(condition, worse=0):
    def effect(base, **model):
        return {"kld": 0.01, "reconstruction": base + worse} if condition(**model) else {}

    return effect


def dense_pair(encoder, decoder, **_):
    return encoder.startswith("DNN") and decoder.startswith("DNN")


# Claim, a table where it holds, a table where the contrary does.
CASES = {
    "collapse": (
        collapsed(
            lambda encoder, latent_size, **_: encoder in ("DNN1", "CNN1") or (encoder, latent_size) == ("CNN2", 25)
        ),
        lambda **_: {},
    ),
    "collapse_and_reconstruction": (
        lambda base, **_: {"kld": 200 - base},
        lambda base, **_: {"kld": base},
    ),
    "kld_in_the_top": (lambda base, **_: {"kld": 200 - base}, lambda base, **_: {"kld": base}),
    "simple_dense_encoders": (
        better(lambda encoder, **_: encoder == "DNN1"),
        better(lambda encoder, **_: encoder == "CNN4"),
    ),
    "simple_convolutional_encoders": (
        lambda base, encoder, **_: {"reconstruction": base - {"DNN1": 20, "CNN1": 10}.get(encoder, 0)},
        better(lambda encoder, **_: encoder == "CNN1"),  # it comes first
    ),
    "decoders": (
        better(lambda decoder, **_: decoder in ("DNN1", "CNN2", "CNN4")),
        better(lambda decoder, **_: decoder in ("DNN4", "CNN1")),
    ),
    "powerful_convolutional_encoders": (
        better(lambda encoder, **_: encoder in ("CNN2", "CNN4")),
        better(lambda encoder, **_: encoder == "CNN1"),
    ),
    "compression_degrades": (
        lambda latent_size, **_: {"probe_accuracy_sampled": 0.5 + latent_size / 1000},
        lambda latent_size, **_: {"probe_accuracy_sampled": 0.9 - latent_size / 1000},
    ),
    "separable_at_50": (
        lambda **_: {"probe_accuracy_sampled": 0.95},
        lambda **_: {"probe_accuracy_sampled": 0.1},  # below that in principal components
    ),
    "dense_and_compact": (
        better(lambda latent_size, **model: latent_size <= 50 and dense_pair(**model), by=-20),
        better(lambda latent_size, **model: latent_size <= 50 and dense_pair(**model), by=20),
    ),
}
# Claims about losses, of which a difference may be too small to matter.
OF_LOSSES = ("simple_dense_encoders", "simple_convolutional_encoders", "decoders", "dense_and_compact")
IDENTITY = "collapsed_are_beaten"

# Two sentinels, of which twice the budget changes next to nothing.
BUDGET = pd.DataFrame(
    [["L200_CNN1_CNN1", 0, 4, 110.0, 109.75, 0.25, 1, 1], ["L200_DNN1_DNN1", 0, 4, 120.0, 119.9, 0.1, 2, 2]],
    columns=fidelity.COLUMNS,
)


def shown(claims, rows, tmp_path, figures=(), budget=BUDGET):
    """The page of a table of claims, by way of a file."""
    claims.assign(at_this_budget=not fidelity.Fidelity.of(budget).converged).to_csv(
        tmp_path / "claims.csv", index=False
    )
    rows = rows.assign(**{name: np.nan for name in effects.RESPONSES if name not in rows and name != "negative_elbo"})
    return pages.claims(verdicts.read(tmp_path / "claims.csv"), rows, budget, effects.shares(rows), list(figures))


def first(rows, name):
    return pd.Series(verdicts.row(paper.CLAIMS[name], verdicts.view(rows)))


def test_every_claim_has_its_cases():
    assert set(CASES) == set(paper.CLAIMS) - {IDENTITY}


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_each_claim_comes_out_each_way(name, seeds):
    holds, contrary = (first(table(effect, seeds, noise=0.1, spread=5), name) for effect in CASES[name])
    assert holds["verdict"] == "supported", holds
    assert holds["low"] <= holds["value"] <= holds["high"]
    assert contrary["verdict"] == "contradicted", contrary
    if name != "collapse":  # a share
        assert contrary["high"] < 0 < holds["low"]


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("name", OF_LOSSES)
def test_a_difference_that_is_too_small_to_matter_is_none(name, seeds):
    assert first(table(seeds=seeds, noise=0.01, spread=0.1), name)["verdict"] == "equivalent"


@pytest.mark.parametrize("name", sorted(set(CASES) - set(OF_LOSSES) - {"collapse", "separable_at_50"}))
def test_noise_is_undecided_and_says_why(name):
    """But that deeper encoders do no harm, which noise is."""
    row = first(table(noise=3, spread=5), name)
    assert row["verdict"] == ("undecided" if name != "powerful_convolutional_encoders" else row["verdict"]), row
    if row["verdict"] == "undecided":
        assert "the interval spans" in row["reason"]
        assert "more would decide" in row["reason"]


def test_identities_are_shown_and_not_counted(tmp_path):
    rows = table(collapsed(lambda latent_size, **_: latent_size == 25, worse=20))
    claims = verdicts.verdicts(rows)
    row = verdicts.main_rows(claims).set_index("claim").loc[IDENTITY]
    assert (row["verdict"], row["value"]) == ("identity", 1)
    text = shown(claims, rows, tmp_path)
    assert f"Of {len(paper.CLAIMS) - 1} claims of the paper" in text
    assert ">identity</" in text


@pytest.mark.parametrize("count", [1, 9, 16, 25])
def test_the_interval_of_a_share_ends_at_none_and_at_all(count):
    of = [testing.share(lambda view, value=value: np.full(3 * count, value), "")(None) for value in (0.0, 1.0)]
    assert (of[0].low, of[1].high) == (0, 1)
    assert of[0].high == pytest.approx(1 - of[1].low)
    assert 0 < of[0].high < 1


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([[0.5]] * 3, "undecided"),
        ([[0.5] * 5], "undecided"),
        ([[0.5, 0.5], [1, 1]], "undecided"),
        ([[0.5]] * 6, "supported"),
    ],
)
def test_fewer_than_six_values_without_spread_have_no_interval(values, said):
    """As rank correlations of three decoders are, which are 0.5 in each context of a small grid by chance."""
    view = SimpleNamespace(ranking=SimpleNamespace(margin=None))
    tested = testing.differences(lambda _: {"all": np.array(values)}, "")(view)
    assert (tested.value, tested.verdict) == (np.mean(values), said)
    assert np.isnan(tested.low) == (said == "undecided") == ("no spread" in tested.reason)


def test_where_every_model_collapsed_architectures_are_not_compared():
    """Latent size 25 would turn the order of the encoders."""

    def effect(base, latent_size, encoder, **_):
        gone = latent_size == 25
        return {"reconstruction": base + (-100 if gone else 10) * (encoder != "DNN1"), "kld": 0.01 if gone else 10.0}

    row = first(table(effect), "simple_dense_encoders")
    assert row["verdict"] == "supported"
    assert row["value"] == pytest.approx(10, abs=0.5)
    assert row["rests_on"] == "3 seeds in 15 contexts"  # three latent sizes, five decoders


def test_each_claim_says_what_is_found_and_names_a_figure():
    claims = verdicts.main_rows(verdicts.verdicts(table(collapsed(lambda latent_size, **_: latent_size == 25, 20))))
    for claim in claims.itertuples():
        assert claim.finding.endswith(".")
        assert claim.claim == IDENTITY or any(character.isdigit() for character in claim.finding)
        assert claim.figure in FIGURES
    findings = claims.set_index("claim")["finding"]
    assert findings["collapse"] == "25% of the models collapse."


@pytest.mark.parametrize(
    ("name", "case", "words"),
    [
        ("simple_dense_encoders", 0, "With DNN1 encoders the reconstruction loss is .* nats lower than"),
        ("simple_dense_encoders", 1, "With CNN4 encoders the reconstruction loss is .* nats lower than with DNN1"),
        ("simple_convolutional_encoders", 0, "encoders the reconstruction loss is .* nats lower than"),
        ("simple_convolutional_encoders", 1, "With CNN1 encoders the .* loss is .* nats lower than with DNN1"),
        ("decoders", 0, "The reconstruction loss with these decoders is .* nats lower than with the others"),
        ("decoders", 1, "The reconstruction loss with these decoders is .* nats higher than with the others"),
        ("powerful_convolutional_encoders", 0, "loss is .* nats lower than with CNN1; the margin is 0.50 nats"),
        ("powerful_convolutional_encoders", 1, "loss is .* nats higher than with CNN1"),
        ("dense_and_compact", 0, "above that of convolutional ones is .* nats higher at the smaller"),
        ("dense_and_compact", 1, "above that of convolutional ones is .* nats lower at the smaller"),
        ("kld_in_the_top", 0, r"loss is −(1\.00|0\.[5-9])"),
        ("collapse_and_reconstruction", 1, r"loss is \+(1\.00|0\.[5-9])"),
        ("compression_degrades", 0, "goes from 5[0-9]% at 25 to 7[0-9]% at 200"),
        ("separable_at_50", 1, "is 10%, 12 points below that in 50 principal components"),
    ],
)
def test_the_findings_have_the_sign_of_what_they_say(name, case, words):
    assert re.search(words, first(table(CASES[name][case], noise=0.1, spread=5), name)["finding"])


def test_the_findings_name_the_loss_that_ranks():
    claims = verdicts.verdicts(table(CASES["decoders"][0]))
    begins = claims[claims["claim"] == "decoders"].set_index("ranking")["finding"].str.split(" with these").str[0]
    assert dict(begins) == {
        "reconstruction": "The reconstruction loss",
        "elbo": "The −ELBO",
        "iwae_bound": "The negative IWAE bound",
        "probe_accuracy_sampled": "The error of the probe",
    }


def test_the_page_says_what_was_trained_how_well_and_what_came_out(tmp_path):
    rows = table(CASES["simple_dense_encoders"][0])
    rows.loc[0, "status"] = "diverged"
    (tmp_path / "collapse_atlas.png").write_bytes(b"not really a picture")
    text = shown(verdicts.verdicts(rows), rows, tmp_path, [tmp_path / "collapse_atlas.png"])
    assert "trained 300 models (5 encoders × 5 decoders × 4 latent sizes, 3 seeds) for 4 epochs" in text
    assert "0 collapsed and 1 diverged" in text
    assert "Twice the budget gains a sentinel 0.25 nats at most" in text
    assert (
        "At equal latent size, the decoder explains 0% of the variance of reconstruction and the encoder 100%" in text
    )
    assert "One-layer dense encoders are the most frequent in the top." in text
    assert 'href="#collapse_atlas"' in text
    assert '<h2 id="collapse_atlas">' in text
    assert "at this budget" not in text
    assert "Models and their baselines" in text
    accuracy = rows.loc[(rows["latent_size"] == 25) & (rows["status"] == "ok"), "probe_accuracy"].mean()
    assert f"<td>{accuracy:.3g}</td><td>0.11</td><td>0.22</td><td>0.33</td>" in text


def test_verdicts_stand_first_and_what_is_undecided_last(tmp_path):
    rows = table(CASES["simple_dense_encoders"][0])
    text = shown(verdicts.verdicts(rows), rows, tmp_path)
    order = re.findall(r'<p class="(\w+)"><b>', text)
    ranks = [["supported", "contradicted", "equivalent", "undecided", "identity"].index(name) for name in order]
    assert len(ranks) == len(paper.CLAIMS)
    assert ranks == sorted(ranks)


def test_verdicts_hold_at_this_budget_where_twice_of_it_gains(tmp_path):
    rows = table(CASES["simple_dense_encoders"][0])
    text = shown(verdicts.verdicts(rows), rows, tmp_path, budget=BUDGET.assign(gain=[3.0, 0.1]))
    assert text.count("<small>at this budget</small>") == sum(
        row.verdict not in ("undecided", "identity") for row in verdicts.main_rows(verdicts.verdicts(rows)).itertuples()
    )


def test_every_figure_that_a_claim_names_is_on_the_page():
    assert all(FIGURES[claim.figure].on_page for claim in paper.CLAIMS.values())


def test_a_grid_without_the_networks_of_a_claim_decides_nothing_of_it(tmp_path):
    rows = table(networks=["DNN4", "CNN2"])
    claims = verdicts.verdicts(rows)
    assert "Undecided: there is no DNN1 encoder, or no other." in shown(claims, rows, tmp_path)
    claims = claims.set_index("claim")
    for name in ("simple_dense_encoders", "simple_convolutional_encoders", "powerful_convolutional_encoders"):
        assert (claims.loc[name, "verdict"] == "undecided").all()


def test_other_rankings_and_cutoffs_stand_in_a_table(tmp_path):
    """DNN1 encoders lose least, and read worst."""
    effect = lambda base, encoder, **_: {  # noqa: E731
        "reconstruction": base - 20 * (encoder == "DNN1"), "probe_accuracy_sampled": 0.9 - 0.3 * (encoder == "DNN1"),
    }  # fmt: skip
    rows = table(effect)
    claims = verdicts.verdicts(rows)
    said = claims[claims["claim"] == "simple_dense_encoders"].set_index("ranking")["verdict"]
    assert said.to_dict() == dict.fromkeys(["reconstruction", "elbo", "iwae_bound"], "supported") | {
        "probe_accuracy_sampled": "contradicted"
    }
    by_cutoff = claims[claims["claim"] == "kld_in_the_top"]
    assert by_cutoff["cutoff"].tolist() == list(verdicts.CUTOFFS)
    assert set(by_cutoff["ranking"]) == {"reconstruction"}
    assert len(claims[claims["claim"] == "separable_at_50"]) == 1
    text = shown(claims, rows, tmp_path)
    row = text[text.index("<h2>Under other rankings") :].split("One-layer dense encoders")[1].split("</tr>")[0]
    assert re.findall('class="(\\w*)"', row) == ["supported", "", "", "supported", "supported", "contradicted"]


def test_models_that_diverged_are_left_out():
    rows = table(CASES["simple_dense_encoders"][0])
    lost = (rows["label"] == "L25_DNN1_DNN1") | ((rows["label"] == "L50_DNN1_DNN1") & (rows["seed"] == 0))
    rows.loc[lost, "status"] = "diverged"
    rows.loc[lost, [*UNKNOWN, "probe_accuracy_sampled"]] = np.nan
    claim = first(rows, "simple_dense_encoders")
    assert claim["verdict"] == "supported"
    assert claim["rests_on"] == "3 seeds in 19 contexts"
    assert claim["freedom"] == 19 * 2 - 1


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_grid_of_next_to_nothing_has_a_page_all_the_same(count, tmp_path):
    rows = table()
    labels = rows["label"].unique()[:count]
    rows.loc[~rows["label"].isin(labels), "status"] = "diverged"
    claims = verdicts.verdicts(rows)
    assert set(claims["claim"]) == set(paper.CLAIMS)
    assert "Undecided: there is" in shown(claims, rows, tmp_path)


SIMULATED = 200


def simulated(effect, seeds, lost=0, **options):
    """Verdict, value, low and high of "one-layer dense encoders lead" on many tables with an effect that is known."""
    rows = []
    for start in range(SIMULATED):
        made = table(effect, seeds, start=start, sizes=[50, 100], **options)
        if lost:
            gone = np.random.default_rng(start).choice(len(made), lost, replace=False)
            made.loc[gone, "status"] = "diverged"
        view = verdicts.view(made)
        rows.append(paper.CLAIMS["decoders"].test(view))
    return pd.DataFrame(rows)


def decoders_lose(nats):
    """What decoders that the claim is not about lose more."""
    return lambda base, decoder, **_: {"reconstruction": base + nats * (decoder in ("DNN4", "CNN1"))}


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 5])
@pytest.mark.parametrize(("seeds", "decided"), [(1, 0.8), (3, 0.9)])
def test_what_is_true_is_decided_rightly_and_seldom_wrongly(seeds, decided, lost):
    """An effect of one nat with seeds that differ by 0.3, architectures by as much beside it; and none at all."""
    for nats, right, wrong in ((1.0, "supported", "contradicted"), (-1.0, "contradicted", "supported")):
        outcome = simulated(decoders_lose(nats), seeds, lost, spread=0.3)
        assert (outcome["verdict"] == right).mean() >= decided
        assert (outcome["verdict"] == wrong).mean() <= 0.05
    none = simulated(decoders_lose(0.0), seeds, lost, spread=0.0)
    assert (none["verdict"] == "equivalent").mean() >= 0.8
    assert none["verdict"].isin(["supported", "contradicted"]).mean() <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3])
def test_intervals_hold_the_true_difference_as_often_as_they_say(seeds):
    """With one seed that over contexts of the same kind; with several that of this grid."""
    outcome = simulated(decoders_lose(1.0), seeds, spread=0.0)
    held = ((outcome["low"] <= 1) & (outcome["high"] >= 1)).mean()
    assert 0.95 - 0.035 < held < 0.95 + 0.035  # two standard errors of 200 tables


def test_the_claim_of_the_how_to_page_is_above_zero_where_it_holds():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/how-to/own-claim.md").read_text(), re.S)
    names = {"View": View, "Parts": Parts}
    exec(textwrap.dedent(code), names)
    shallow = table(better(lambda decoder, **_: decoder == "CNN1"))
    (lead,) = names["shallow_decoders"](verdicts.view(shallow)).values()
    assert estimate(lead).value == pytest.approx(20, abs=1)
