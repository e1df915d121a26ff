"""Each claim on tables that are made so that it holds, or does not."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from vae.analysis import fidelity, ranking
from vae.analysis.claims import paper, verdicts
from vae.catalogue import FIGURES
from vae.report import pages

NETWORKS = ["DNN1", "DNN4", "CNN1", "CNN2", "CNN4"]
LATENT_SIZES = [25, 50, 100, 200]
# Of what diverged.
UNKNOWN = ["reconstruction", "validation_reconstruction", "kld", "elbo", "validation_elbo", "likelihood_bound"]


def table(effect=lambda **model: {}, seeds=3, networks=NETWORKS, start=0):
    """A grid whose measures are noise, but for what `effect` says of a model."""
    rng = np.random.default_rng(start)
    rows = []
    for latent_size, encoder, decoder in product(LATENT_SIZES, networks, networks):
        base = rng.normal(100, 5)
        for seed in range(seeds):
            model = {"latent_size": latent_size, "encoder": encoder, "decoder": decoder, "base": base}
            row = {"reconstruction": base, "kld": 10.0 + rng.random(), "knn_accuracy": 0.8 + rng.normal(0, 0.05)}
            row |= effect(**model)
            row["reconstruction"] += rng.normal(0, 0.1)
            row["validation_reconstruction"] = row["reconstruction"]
            row["elbo"] = row["validation_elbo"] = -row["reconstruction"] - row["kld"]
            row["likelihood_bound"] = row["elbo"] + 1
            del model["base"]
            label = f"L{latent_size}_{encoder}_{decoder}"
            row |= {
                "knn_accuracy_untrained": 0.11,
                "knn_accuracy_pca": 0.22,
                "knn_accuracy_pixels": 0.33,
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
    "collapsed_are_beaten": (
        collapsed(lambda latent_size, **_: latent_size == 25, worse=20),
        collapsed(lambda latent_size, **_: latent_size == 25, worse=-20),
    ),
    "simple_dense_encoders": (
        better(lambda encoder, **_: encoder == "DNN1"),
        better(lambda encoder, **_: encoder == "CNN4"),
    ),
    "simple_convolutional_encoders": (
        # 16 of 20, and 8 of 20: in a top of 25 there is room for one other.
        better(
            lambda encoder, decoder, **_: decoder in {"DNN1": NETWORKS[:4], "CNN1": NETWORKS[:2]}.get(encoder, []), 60
        ),
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
        lambda latent_size, **_: {"knn_accuracy": 0.5 + latent_size / 1000},
        lambda latent_size, **_: {"knn_accuracy": 0.9 - latent_size / 1000},
    ),
    "separable_at_50": (lambda **_: {"knn_accuracy": 0.95}, lambda **_: {"knn_accuracy": 0.5}),
    "dense_and_compact": (
        better(lambda latent_size, **model: latent_size <= 50 and dense_pair(**model), by=-20),
        better(lambda latent_size, **model: latent_size <= 50 and dense_pair(**model), by=20),
    ),
}


FIRST = verdicts.RANKINGS["reconstruction"]


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    monkeypatch.setattr(verdicts, "RANKINGS", {"reconstruction": FIRST, "knn_accuracy": ("knn_accuracy", -1)})
    monkeypatch.setattr(verdicts, "CUTOFFS", (0.25, 0.5))


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
    return pages.claims(verdicts.read(tmp_path / "claims.csv"), rows, budget, list(figures))


def first(rows, name, resamples=60):
    claims = verdicts.verdicts(rows, resamples)
    return claims[claims["claim"] == name].iloc[0]


def test_every_claim_has_its_cases():
    assert set(CASES) == set(paper.CLAIMS)


@pytest.mark.parametrize("name", CASES)
def test_each_claim_comes_out_each_way(name):
    holds, contrary = CASES[name]
    supported = first(table(holds), name)
    assert supported["verdict"] == "supported", supported
    assert 0 < supported["low"] <= supported["high"]
    contradicted = first(table(contrary), name)
    assert contradicted["verdict"] == "contradicted", contradicted
    assert contradicted["high"] < 0


def test_each_claim_says_what_is_found_and_names_a_figure():
    claims = verdicts.verdicts(table(CASES["collapsed_are_beaten"][0]), 20)
    for claim in claims[(claims["ranking"] == "reconstruction") & (claims["cutoff"] == 0.25)].itertuples():
        assert claim.finding.endswith(".")
        assert any(character.isdigit() for character in claim.finding)
        assert claim.figure in FIGURES
    findings = claims.drop_duplicates("claim").set_index("claim")["finding"]
    assert findings["collapse"] == "25 of 100 architectures collapse."
    assert findings["collapsed_are_beaten"].endswith("in 100% of all pairs.")
    assert findings["simple_dense_encoders"].startswith("In the top: ")
    assert sum(int(part.split()[0]) for part in findings["decoders"].split(":")[1].split(",")) == 25


def test_the_findings_have_the_sign_of_what_they_say():
    better_deep = verdicts.verdicts(table(CASES["powerful_convolutional_encoders"][0]), 2).set_index("claim")["finding"]
    assert "lose -" in better_deep["powerful_convolutional_encoders"].iloc[0]
    worse_dense = verdicts.verdicts(table(CASES["dense_and_compact"][0]), 2).set_index("claim")["finding"]
    assert "ones, is +" in worse_dense["dense_and_compact"].iloc[0]
    rising = verdicts.verdicts(table(CASES["kld_in_the_top"][0]), 2).set_index("claim")["finding"]
    assert "correlate by -1.00" in rising["kld_in_the_top"].iloc[0]
    assert "correlate by -1.00" in rising["collapse_and_reconstruction"].iloc[0]


def test_the_page_says_what_is_found_and_links_to_its_figures(tmp_path):
    rows = table(CASES["simple_dense_encoders"][0])
    (tmp_path / "collapse_atlas.png").write_bytes(b"not really a picture")
    text = shown(verdicts.verdicts(rows, 40), rows, tmp_path, [tmp_path / "collapse_atlas.png"])
    assert "One-layer dense encoders are the most frequent in the top." in text
    assert "In the top: " in text
    assert 'href="#collapse_atlas"' in text
    assert '<h2 id="collapse_atlas">' in text
    assert "100 architectures with 3 seeds each" in text
    assert "Twice the budget gains a sentinel 0.25 nats at most" in text
    assert "at this budget" not in text
    assert "Models beside their baselines" in text
    accuracy = rows.loc[rows["latent_size"] == 25, "knn_accuracy"].mean()
    assert f"<td>{accuracy:.3g}</td><td>0.11</td><td>0.22</td><td>0.33</td>" in text


def test_every_figure_that_a_claim_names_is_on_the_page():
    assert all(FIGURES[claim.figure].on_page for claim in paper.CLAIMS.values())


def test_with_one_seed_nothing_is_decided_and_the_page_says_so(tmp_path):
    rows = table(CASES["simple_dense_encoders"][0], seeds=1)
    claims = verdicts.verdicts(rows)
    assert set(claims["verdict"]) == {"undecided"}
    assert claims[["low", "high"]].isna().all(axis=None)
    assert claims["value"].notna().any()
    assert "With one seed there is no interval" in shown(claims, rows, tmp_path)


def test_a_grid_without_the_networks_of_a_claim_decides_nothing_of_it(tmp_path):
    rows = table(networks=["DNN4", "CNN2"])
    claims = verdicts.verdicts(rows, 20)
    assert "cannot be computed from these models" in shown(claims, rows, tmp_path)
    claims = claims.set_index("claim")
    for name in ("simple_dense_encoders", "simple_convolutional_encoders", "powerful_convolutional_encoders"):
        assert (claims.loc[name, "verdict"] == "undecided").all()


def test_an_architecture_collapses_by_the_share_of_its_seeds():
    """Every second seed of every architecture: half of the models collapse, whatever their mean KLD is."""
    rows = table(seeds=4)
    rows.loc[rows["seed"] % 2 == 0, ["collapsed", "kld"]] = [True, 0.01]
    claim = verdicts.verdicts(rows, 2).set_index("claim").loc["collapse"].iloc[0]
    assert claim["finding"] == "50 of 100 architectures collapse."
    assert ranking.by_architecture(rows)["collapsed"].tolist() == [0.5] * 100


def test_the_top_quartile_is_a_quarter_of_the_architectures_that_did_not_diverge():
    """The same ones in the table of counts and in the claims."""
    rows = table(CASES["simple_dense_encoders"][0])
    rows.loc[rows["decoder"] == "CNN4", "status"] = "diverged"
    rows.loc[rows["decoder"] == "CNN4", UNKNOWN] = np.nan
    labels = ranking.by_architecture(rows)
    counts = ranking.counts(labels).set_index("value")
    assert len(ranking.top(labels)) == 20
    finding = verdicts.verdicts(rows, 2).set_index("claim").loc["simple_dense_encoders", "finding"].iloc[0]
    (dense,) = counts[(counts["by"] == "encoder") & (counts.index == "DNN1")].itertuples()
    assert f"{dense.top} of {dense.models} DNN1" in finding


def test_a_verdict_that_flips_says_so(tmp_path):
    def effect(latent_size, base, **_):
        if latent_size != 25:
            return {}
        return {"kld": 0.01, "reconstruction": base + 20, "knn_accuracy": 0.99}  # worst by the one, best by the other

    rows = table(effect)
    claims = verdicts.verdicts(rows, 40)
    (flips,) = claims.loc[(claims["claim"] == "collapsed_are_beaten") & (claims["flips"] != ""), "flips"]
    assert flips == "contradicted by knn_accuracy at 25%; contradicted by knn_accuracy at 50%"
    assert flips in shown(claims, rows, tmp_path)


def test_a_claim_of_reconstruction_is_one_of_reconstruction_by_any_ranking():
    claims = verdicts.verdicts(table(CASES["collapse_and_reconstruction"][0]), 2)
    assert claims.loc[claims["claim"] == "collapse_and_reconstruction", "value"].nunique() == 1


@pytest.mark.slow
def test_encoders_that_do_not_differ_contradict_no_claim_of_who_leads(monkeypatch):
    """The least of several noisy leads is below zero; that alone is no contradiction."""
    monkeypatch.setattr(verdicts, "RANKINGS", {"reconstruction": FIRST})
    monkeypatch.setattr(verdicts, "CUTOFFS", (0.25,))
    outcomes = [first(table(seeds=4, start=start), "simple_dense_encoders", 100)["verdict"] for start in range(25)]
    assert outcomes.count("contradicted") <= 2


def test_an_unknown_measure_of_one_model_does_not_silence_its_ranking():
    rows = table()
    rows.loc[0, "knn_accuracy"] = np.nan  # one of three seeds
    rows.loc[3:5, "knn_accuracy"] = np.nan  # a whole architecture
    claims = verdicts.verdicts(rows, 2)
    assert set(claims["ranking"]) == {"reconstruction", "knn_accuracy"}
    assert claims.loc[claims["claim"] == "compression_degrades", "value"].notna().all()


def test_models_that_diverged_are_left_out():
    rows = table(CASES["simple_dense_encoders"][0])
    lost = (rows["label"] == "L25_DNN1_DNN1") | ((rows["label"] == "L50_DNN1_DNN1") & (rows["seed"] == 0))
    rows.loc[lost, "status"] = "diverged"
    rows.loc[lost, [*UNKNOWN, "knn_accuracy"]] = np.nan
    claim = first(rows, "simple_dense_encoders")
    assert claim["architectures"] == 99
    assert claim["verdict"] == "supported"


@pytest.mark.slow
def test_labels_that_mean_nothing_are_significant_as_often_as_the_level_says():
    """Encoders shuffled over a fixed ranking: an exact test at 5%, corrected for five encoders, errs no more often."""
    rng, labels = np.random.default_rng(0), ranking.by_architecture(table(seeds=1))
    p = []
    for _ in range(200):
        labels["encoder"] = rng.permutation(labels["encoder"])
        counts = ranking.counts(labels, 1 / 4)
        p.append(counts.loc[counts["by"] == "encoder", "p"].min())
    assert np.mean(np.array(p) < 0.05) <= 0.07
    assert np.mean(np.array(p) < 0.05) < np.mean(np.array(p) < 0.5)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_grid_of_next_to_nothing_has_a_page_all_the_same(count, tmp_path):
    rows = table()
    labels = rows["label"].unique()[:count]
    rows.loc[~rows["label"].isin(labels), "status"] = "diverged"
    claims = verdicts.verdicts(rows, 20)
    assert len(claims) == len(paper.CLAIMS) * 4
    assert (claims["architectures"] == count).all()
    assert "cannot be computed from these models" in shown(claims, rows, tmp_path)
