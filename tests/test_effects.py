"""The analysis of variance and the marginal means, on tables with known effects."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.anova import anova_lm

from vae.analysis import blocks, effects

NETWORKS = ["DNN1", "DNN2", "CNN1", "CNN2"]
SIZES = (10, 20, 40)


def table(effect=lambda **model: 0.0, seeds=3, networks=NETWORKS, sizes=SIZES, noise=1.0, start=0):
    """A grid whose reconstruction is `effect`, and noise of seeds."""
    rng = np.random.default_rng(start)
    rows = []
    for latent_size, encoder, decoder, seed in product(sizes, networks, networks, range(seeds)):
        model = {"latent_size": latent_size, "encoder": encoder, "decoder": decoder}
        row = {"label": f"L{latent_size}_{encoder}_{decoder}", "seed": seed, "status": "ok"} | model
        row |= dict.fromkeys(effects.RESPONSES, np.nan) | {"elbo": np.nan}
        rows.append(row | {"reconstruction": effect(**model) + rng.normal(0, noise)})
    return pd.DataFrame(rows)


def by_term(rows):
    return effects.shares(rows).set_index("term")


def test_shares_of_a_tiny_grid_are_those_by_hand():
    """Two by two by two, two seeds: the squares of eight means and of their contrasts."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(2, 2, 2, 2))
    places = list(np.ndindex(*values.shape))
    rows = pd.DataFrame(
        [
            {"latent_size": (2, 4)[i], "encoder": ("DNN1", "CNN1")[j], "decoder": ("DNN1", "CNN1")[k], "seed": s}
            | dict.fromkeys(effects.RESPONSES, np.nan)
            | {"status": "ok", "elbo": np.nan, "reconstruction": values[i, j, k, s]}
            for i, j, k, s in places
        ]
    )
    terms = by_term(rows)
    means, signs = values.mean(-1), np.array([1, -1])
    contrasts = {
        "latent_size": signs[:, None, None],
        "encoder": signs[None, :, None],
        "decoder": signs[None, None, :],
        "latent_size × encoder": signs[:, None, None] * signs[None, :, None],
        "latent_size × decoder": signs[:, None, None] * signs[None, None, :],
        "encoder × decoder": signs[None, :, None] * signs[None, None, :],
        effects.WHOLE: signs[:, None, None] * signs[None, :, None] * signs[None, None, :],
    }
    total = ((values - values.mean()) ** 2).sum()
    for term, contrast in contrasts.items():
        squares = 2 * (means * contrast).sum() ** 2 / 8
        assert terms.loc[term, "share"] == pytest.approx(squares / total)
        assert terms.loc[term, "freedom"] == 1
    within = ((values - means[..., None]) ** 2).sum()
    assert terms.loc[effects.ERROR, "share"] == pytest.approx(within / total)
    assert terms.loc["encoder", "f"] == pytest.approx(2 * (means * contrasts["encoder"]).sum() ** 2 / 8 / (within / 8))


@pytest.mark.parametrize("lost", [0, 7])
def test_it_is_the_analysis_of_variance_of_statsmodels(lost):
    """With all interactions, by type II; also where some models diverged."""
    rows = table(lambda latent_size, encoder, **_: latent_size / 20 + 2 * (encoder == "CNN1"))
    rows.loc[np.random.default_rng(0).choice(len(rows), lost, replace=False), "status"] = "diverged"
    known = rows[rows["status"] == "ok"]
    wanted = anova_lm(smf.ols("reconstruction ~ C(latent_size) * C(encoder) * C(decoder)", known).fit(), typ=2)
    terms = by_term(rows)
    for name, term in (("C(encoder)", "encoder"), ("C(latent_size):C(decoder)", "latent_size × decoder")):
        assert terms.loc[term, "freedom"] == wanted.loc[name, "df"]
        assert terms.loc[term, "f"] == pytest.approx(wanted.loc[name, "F"], rel=1e-6)
        assert terms.loc[term, "p"] == pytest.approx(wanted.loc[name, "PR(>F)"], rel=1e-6, abs=1e-12)
    assert terms["share"].sum() == pytest.approx(1)


def test_with_one_seed_the_error_is_the_interaction_of_all():
    terms = by_term(table(lambda encoder, **_: 5 * (encoder == "DNN1"), seeds=1, noise=0.1))
    assert terms.index[-1] == f"{effects.WHOLE}, and {effects.ERROR}"
    assert terms["freedom"].sum() == len(SIZES) * len(NETWORKS) ** 2 - 1
    assert terms.loc["encoder", "share"] > 0.99
    assert terms.loc["encoder", "p"] < 1e-6 < 0.001 < terms.loc["decoder", "p"]


def test_what_does_not_vary_or_is_not_known_has_no_row():
    assert set(effects.shares(table())["response"]) == {"reconstruction"}
    assert effects.shares(table(noise=0)).empty
    one_size = by_term(table(sizes=(10,)))
    assert list(one_size.index) == ["encoder", "decoder", "encoder × decoder", effects.ERROR]
    assert effects.shares(table(sizes=(10,), networks=["DNN1"], seeds=1)).empty


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3])
def test_noise_is_significant_as_often_as_the_level_says(seeds):
    p = [by_term(table(seeds=seeds, start=start)).loc["encoder", "p"] for start in range(200)]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.09


def test_a_grid_that_leaves_no_freedom_to_the_error_has_no_shares():
    """One choice varies, and one seed trains each: two encoders with a decoder at a latent size."""
    rows = table(seeds=1, networks=["DNN1", "CNN1"], sizes=(10,))
    assert not effects.shares(rows).empty
    assert effects.shares(rows[rows["decoder"] == "DNN1"]).empty


def test_marginal_means_are_those_of_their_blocks():
    """Decoder CNN2 loses 3 more than the others, a quarter of which is their mean."""
    rows = table(lambda decoder, latent_size, **_: 3 * (decoder == "CNN2") + latent_size, noise=0.01)
    means = effects.means(rows).set_index(["response", "choice", "level"]).loc["reconstruction"]
    row = means.loc[("decoder", "CNN2")]
    assert row["difference"] == pytest.approx(3 - 3 / 4, abs=0.01)
    assert row["low"] < 3 - 3 / 4 < row["high"]
    assert row["mean"] == pytest.approx(3 + np.mean(SIZES), abs=0.01)
    assert means.loc[("decoder", "DNN1"), "difference"] == pytest.approx(-3 / 4, abs=0.01)
    assert means.loc[("latent_size", 10), "p_best"] == 1
    assert means.loc["encoder", "difference"].abs().max() < 0.01
    assert row["blocks"] == len(SIZES) * len(NETWORKS)


def test_a_loss_is_better_where_it_is_less_and_an_accuracy_where_it_is_more():
    rows = table(lambda encoder, **_: 3.0 * (encoder == "CNN2"), noise=0.01)
    rows["probe_accuracy_sampled"] = rows["reconstruction"]
    best = effects.means(rows).query("choice == 'encoder' and level == 'CNN2'").set_index("response")["p_best"]
    assert best["reconstruction"] == 0
    assert best["probe_accuracy_sampled"] == 1


@pytest.mark.parametrize("count", [0, 1, 2])
def test_next_to_nothing_has_means_and_no_shares(count):
    rows = table()
    rows.loc[rows["label"].isin(rows["label"].unique()[count:]), "status"] = "diverged"
    assert len(effects.means(rows)) == len(effects.RESPONSES) * (len(SIZES) + 2 * len(NETWORKS))
    assert effects.shares(rows).empty or count == 2


@given(st.integers(1, 4), st.integers(2, 9), st.integers(0, 10**6))
def test_the_error_of_a_mean_over_blocks(seeds, count, start):
    """Of one seed that of a mean of as many values; of several that of the means of seeds, pooled."""
    values = np.random.default_rng(start).normal(size=(count, seeds))
    estimate = blocks.estimate(values)
    assert estimate.value == pytest.approx(values.mean())
    variance = values[:, 0].var(ddof=1) if seeds == 1 else values.var(1, ddof=1).mean() / seeds
    assert estimate.error == pytest.approx(np.sqrt(variance / count))
    assert estimate.freedom == (count - 1 if seeds == 1 else count * (seeds - 1))
    low, high = estimate.interval
    assert low < estimate.value < high


def test_a_block_without_a_seed_counts_by_those_that_it_has():
    values = np.array([[1.0, 3.0], [5.0, np.nan], [np.nan, np.nan]])
    estimate = blocks.estimate(values)
    assert (estimate.value, estimate.blocks, estimate.seeds, estimate.freedom) == (3.5, 2, 2, 1)
    assert estimate.error == pytest.approx(np.sqrt(2 * (1 / 2 + 1)) / 2)


def test_more_seeds_that_would_decide_are_as_many_as_it_takes():
    values = np.random.default_rng(0).normal(0.2, 1, (10, 3))
    estimate = blocks.estimate(values)
    needed = estimate.seeds_to_decide(None)
    reach = 1.96 * estimate.error * np.sqrt(3 / needed)
    assert reach <= abs(estimate.value) < 1.96 * estimate.error * np.sqrt(3 / (needed - 1))
    assert estimate.seeds_to_decide(2.0) <= needed  # an interval within the margin decides as well
    assert blocks.estimate(values[:, :1]).seeds_to_decide(None) is None


def test_the_best_of_resamples():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 8, 4)) * 0.1 + np.array([0.0, 5.0, 5.0])[:, None, None]
    assert blocks.standing(values)[0].tolist() == [1, 1, 1]
    assert blocks.standing(values)[1:, 1].tolist() == [2, 2]
    assert blocks.standing(values)[:, 0].sum() == 1
    assert np.isnan(blocks.standing(np.full((2, 3, 2), np.nan))).all()


@pytest.mark.slow
def test_a_rank_is_in_its_interval_as_often_as_it_says():
    """Five levels a tenth of the noise apart, of three seeds in six blocks."""
    rng, held = np.random.default_rng(0), []
    for _ in range(200):
        values = rng.normal(size=(5, 6, 3)) + np.arange(5)[:, None, None] / 10
        order = blocks.standing(values, 300)
        held += ((order[:, 1] <= np.arange(1, 6)) & (np.arange(1, 6) <= order[:, 2])).tolist()
    assert np.mean(held) > 0.93
