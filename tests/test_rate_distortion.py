"""Rate and distortion, against what is known of linear VAEs."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae.analysis import rate_distortion
from vae.analysis.rate_distortion import Curve

VARIANCES = np.array([30.0, 12.0, 5.0, 2.0, 0.7])
FLOOR = 50.0


def rate(beta):
    return np.log(np.maximum(VARIANCES / beta, 1)).sum() / 2


def distortion(beta):
    return FLOOR + np.minimum(VARIANCES, beta).sum() / 2


def linear(betas):
    betas = np.asarray(betas, float)
    return Curve.of(np.array([rate(b) for b in betas]), np.array([distortion(b) for b in betas]), betas)


def test_between_two_weights_a_curve_is_that_of_the_linear_vae():
    curve = linear([0.5, 1, 2, 4, 8, 16])
    for beta in (0.7, 1.4, 3, 6, 11):
        assert curve(rate(beta)) == pytest.approx(distortion(beta), abs=0.1)  # where a variance is between
    for beta in (0.5, 4, 16):
        assert curve(rate(beta)) == pytest.approx(distortion(beta))


def test_its_slope_is_minus_the_weight():
    curve, step = linear([0.5, 1, 2, 4, 8]), 1e-5
    for beta in (1, 2, 4):
        slope = (curve(rate(beta) + step) - curve(rate(beta) - step)) / (2 * step)
        assert slope == pytest.approx(-beta, rel=1e-3)


def test_at_a_weight_above_all_variances_it_is_the_mean_image():
    curve = linear([4, 100])
    assert curve(0.0) == FLOOR + VARIANCES.sum() / 2
    assert np.isnan(curve(-0.1))
    assert np.isnan(curve(rate(4) + 0.1))


def test_a_point_above_the_hull_is_left_out():
    betas = np.array([0.5, 1, 2, 4])
    rates, distortions = (np.array([f(b) for b in betas]) for f in (rate, distortion))
    distortions[1] += 5
    curve = Curve.of(rates, distortions, betas)
    assert sorted(curve.betas) == [0.5, 2, 4]


POINTS = st.tuples(st.integers(0, 500), st.integers(500, 3000))


@given(st.lists(POINTS, min_size=1, max_size=8, unique_by=lambda point: point[0]))
def test_a_hull_is_convex_falls_and_lies_below_all_points(points):
    rates, distortions = np.array(points).T / 10
    curve = Curve.of(rates, distortions, np.ones(len(rates)))
    assert (np.diff(curve.rates) > 0).all()
    assert (np.diff(curve.distortions) < 0).all()
    slopes = np.diff(curve.distortions) / np.diff(curve.rates)
    assert (np.diff(slopes) > -1e-9 * np.abs(slopes[1:])).all() or len(slopes) < 2
    inside = (rates >= curve.rates[0]) & (rates <= curve.rates[-1])
    hull = np.interp(rates[inside], curve.rates, curve.distortions)
    assert (distortions[inside] >= hull - 1e-6).all()


def test_two_architectures_differ_by_what_was_planted():
    first = linear([0.5, 1, 2, 4, 8])
    second = Curve(first.rates, first.distortions + 3, first.betas)
    assert second.above(first) == pytest.approx(3)
    assert np.isnan(first.above(Curve(first.rates + 100, first.distortions, first.betas)))


def study(betas=(0.5, 1, 2, 4), seeds=2):
    rng = np.random.default_rng(0)
    rows = []
    for decoder, worse in (("DNN1", 0.0), ("CNN1", 2.0)):
        for beta in betas:
            for seed in range(seeds):
                row = {"latent_size": 5, "encoder": "DNN1", "decoder": decoder, "seed": seed, "status": "ok"}
                row |= {"variant": "" if beta == 1 else f"beta{beta:g}", "objective.beta": beta, "effective_beta": beta}
                noise = (-1) ** seed * rng.random()
                rows.append(row | {"kld": rate(beta), "reconstruction": distortion(beta) + worse + noise * 0.01})
    return pd.DataFrame(rows)


def test_the_table_has_a_row_per_architecture():
    table = rate_distortion.table(study()).set_index("decoder")
    assert table.loc["DNN1", "points"] == 4
    assert table.loc["DNN1", "distortion_at_5"] == pytest.approx(linear([0.5, 1, 2, 4])(5.0), abs=0.05)
    assert np.isnan(table.loc["DNN1", "distortion_at_20"])
    assert table.loc["DNN1", "above_best"] == 0
    assert table.loc["CNN1", "above_best"] == pytest.approx(2, abs=0.05)


def test_other_sweeps_and_what_diverged_are_left_out():
    rows = study()
    other = rows.assign(variant=rows["variant"].where(rows["variant"] == "", rows["variant"] + "_") + "hidden-units9")
    other["reconstruction"] -= 40
    lost = rows.index[(rows["decoder"] == "CNN1") & (rows["seed"] == 1)]
    rows.loc[lost, "status"] = "diverged"
    wanted = rate_distortion.table(rows)
    pd.testing.assert_frame_equal(rate_distortion.table(pd.concat([rows, other])), wanted)
    assert wanted["points"].tolist() == [4, 4]


def test_without_a_sweep_there_is_no_curve():
    assert rate_distortion.table(study(betas=(1,))).empty
    assert rate_distortion.table(study().drop(columns="objective.beta")).empty
    assert list(rate_distortion.table(study(betas=(1,)))) == rate_distortion.COLUMNS
