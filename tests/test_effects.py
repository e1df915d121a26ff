"""The linear model of effects, on tables with known ones."""

import gc
from itertools import product

import numpy as np
import pandas as pd
import pytest

from vae.analysis import effects

NETWORKS = ["DNN1", "DNN2", "DNN4", "CNN1", "CNN2", "CNN4"]


def table(effect=lambda **model: 0.0, seeds=3, networks=NETWORKS, latent_sizes=(10, 20, 40), noise=1.0, spread=0.0):
    """A grid whose reconstruction is `effect`, and noise of architectures (`spread`) and of seeds."""
    rng = np.random.default_rng(0)
    rows = []
    for latent_size, encoder, decoder in product(latent_sizes, networks, networks):
        base = effect(latent_size=latent_size, encoder=encoder, decoder=decoder) + rng.normal(0, spread)
        counted = {f"{side}_parameters": int(rng.integers(1e4, 1e6)) for side in ("encoder", "decoder")}
        for seed in range(seeds):
            row = {"label": f"L{latent_size}_{encoder}_{decoder}", "seed": seed, "status": "ok"}
            row |= {"latent_size": latent_size, "encoder": encoder, "decoder": decoder}
            row |= counted
            row |= dict.fromkeys(effects.RESPONSES, np.nan) | {"reconstruction": base + rng.normal(0, noise)}
            rows.append(row)
    return pd.DataFrame(rows)


def fitted(rows):
    return effects.fit(rows).set_index("term")


def test_known_effects_are_found_in_the_units_of_the_response():
    def effect(latent_size, encoder, decoder):
        return 5 * encoder.startswith("CNN") - 3 * np.log2(latent_size) + 2 * np.log2(int(decoder[3:]))

    effects_ = fitted(table(effect))
    for term, size in (
        ("encoder: CNN, not DNN", 5),
        (effects.LATENT, -3),
        ("decoder: depth, doubled", 2),
        ("decoder: CNN, not DNN", 0),
        ("encoder: depth, doubled", 0),
    ):
        row = effects_.loc[term]
        assert row["in_units"] == pytest.approx(size, abs=0.25)
        assert row["low"] < row["effect"] < row["high"]
        assert (row["p"] < 0.05) == (size != 0)
        assert row["vif"] == pytest.approx(1, abs=0.1)


def test_an_interaction_is_told_from_its_main_effects():
    def effect(encoder, decoder, **_):
        return 4 * (encoder.startswith("CNN") and decoder.startswith("CNN"))

    effects_ = fitted(table(effect))
    row = effects_.loc["encoder CNN × decoder CNN"]
    assert row["in_units"] == pytest.approx(4, abs=0.4)
    assert effects_.loc["encoder: CNN, not DNN", "in_units"] == pytest.approx(2, abs=0.3)


def test_seeds_are_replicates_and_not_architectures():
    """Where architectures differ and seeds do not, more seeds say nothing more: the intervals stay as wide."""
    few, many = (fitted(table(seeds=seeds, noise=0.01, spread=1.0)) for seeds in (2, 8))
    width = few["high"] - few["low"], many["high"] - many["low"]
    main = ["encoder: CNN, not DNN", effects.LATENT]
    assert (width[1] / width[0])[main].between(0.8, 1.25).all()


@pytest.mark.slow
@pytest.mark.parametrize(("networks", "latent_sizes"), [(NETWORKS, (10, 20, 40)), (["DNN1", "DNN4", "CNN1"], (2, 4))])
def test_noise_has_a_significant_effect_no_more_often_than_the_level_says(networks, latent_sizes, monkeypatch):
    """Of many architectures as of few, whose errors are known by few degrees of freedom."""
    monkeypatch.setattr(gc, "collect", lambda: 0)  # statsmodels does so in every call, which takes most of its time
    rng, rows = np.random.default_rng(0), table(seeds=3, networks=networks, latent_sizes=latent_sizes)
    rows[[name for name in effects.RESPONSES if name != "reconstruction"]] = 0.0  # which has no effects, and costs none
    wrong = 0
    for _ in range(60):
        offsets = rng.normal(size=rows["label"].nunique()).repeat(3)
        rows["reconstruction"] = offsets + rng.normal(0, 0.1, len(rows))
        wrong += (effects.fit(rows)["p"] < 0.05).any()
    assert wrong <= 8  # of 60 at 5%: more would happen in one of 250 such tests


def test_with_as_many_terms_as_architectures_nothing_is_said():
    assert effects.fit(table(networks=["DNN1", "CNN1"], latent_sizes=(10,), seeds=5).iloc[:10]).empty


def test_numbers_of_parameters_that_are_equal_but_for_rounding_are_no_effect():
    rows = table()
    rows["encoder_parameters"] = 314_000 + np.arange(len(rows)) % 7 * 1000
    terms = set(effects.fit(rows)["term"])
    assert "encoder: parameters, doubled" not in terms
    assert "decoder: parameters, doubled" in terms


def test_with_one_seed_there_are_effects_and_no_intervals():
    effects_ = effects.fit(table(seeds=1))
    assert len(effects_)
    assert effects_["effect"].notna().all()
    assert effects_[["low", "high", "p"]].isna().all(axis=None)


def test_what_the_grid_cannot_tell_is_left_out():
    one_depth = table(networks=["DNN1", "CNN1"], latent_sizes=(10, 20, 40))
    for side in ("encoder", "decoder"):
        one_depth[f"{side}_parameters"] = 1000 + 500 * (one_depth[side] == "CNN1")
    assert set(effects.fit(one_depth)["term"]) == {
        "encoder: CNN, not DNN",
        "decoder: CNN, not DNN",
        effects.LATENT,
        "encoder CNN × decoder CNN",
        "encoder CNN × latent size",
        "decoder CNN × latent size",
    }


@pytest.mark.parametrize("count", [0, 1, 3])
def test_next_to_nothing_has_no_effects(count):
    rows = table().assign(status="diverged")
    rows.loc[: count - 1, "status"] = "ok"
    assert effects.fit(rows).empty


def test_a_kld_of_zero_has_a_logarithm():
    rows = table()
    rows["kld"] = np.where(rows["encoder"] == "DNN1", 0.0, 5.0)
    effects_ = effects.fit(rows)
    assert np.isfinite(effects_.loc[effects_["response"] == "kld", "effect"]).all()
