"""How factors are laid out in codes, of codes whose layout is known."""

from dataclasses import replace

import numpy as np
import pytest

from vae.measures.codes import factors
from vae.measures.latents import Latents

LEVELS = 5


def latents(code, scale=0.0, count=1500):
    """Codes that `code` makes of two independent factors, with that standard deviation in their posteriors."""
    rng = np.random.default_rng(0)
    fit, test = (rng.integers(LEVELS, size=(count, 2)) for _ in range(2))
    means = [code(values.astype(float), rng).astype(np.float32) for values in (fit, test)]
    spread = np.full_like(means[0], 2 * np.log(scale) if scale else -40)
    return Latents(
        means[0], spread, means[1], spread, np.arange(count), np.arange(count),
        fit_factors=fit, factors=test, factor_names=["shape", "size"],
    )  # fmt: skip


def turned(values, rng):
    turn = np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    return values @ turn.T


def test_codes_that_are_the_factors_are_laid_out_perfectly():
    measured = factors.measure(latents(lambda values, rng: values))
    for name in ("mig", "dci_disentanglement", "dci_completeness", "dci_informativeness"):
        assert measured[name] == pytest.approx(1, abs=0.02), name
    assert measured["sap"] > 0.7
    for name in ("shape", "size"):
        assert measured[f"bits_{name}"] == pytest.approx(np.log2(LEVELS), abs=0.3)


def test_a_turn_by_45_degrees_leaves_the_information_and_no_gap():
    measured = factors.measure(latents(turned))
    assert measured["mig"] < 0.05
    assert measured["sap"] < 0.05
    assert measured["dci_disentanglement"] < 0.1
    assert measured["dci_informativeness"] > 0.95
    assert measured["bits_shape"] == pytest.approx(np.log2(LEVELS), abs=0.3)


def test_noise_measures_what_permuted_factors_do():
    measured = factors.measure(latents(lambda values, rng: rng.normal(size=(len(values), 3))))
    for name in factors.names(["shape", "size"]):
        assert measured[name] == pytest.approx(measured[f"{name}_permuted"], abs=0.05), name
    assert measured["dci_informativeness"] == pytest.approx(1 / LEVELS, abs=0.05)
    assert abs(measured["bits_shape"]) < 0.05


def test_bits_are_of_drawn_codes_and_not_of_means():
    """A mean says which of five levels; a code with as much noise as the levels span says little of it."""
    clear, noisy = (factors.measure(latents(lambda values, rng: values, scale)) for scale in (0.01, 10))
    assert clear["bits_shape"] > 2
    assert noisy["bits_shape"] < 0.1
    assert noisy["mig"] == clear["mig"]


def test_without_factors_nothing_is_measured_and_codes_that_are_not_finite_have_no_numbers():
    known = latents(lambda values, rng: values, count=50)
    assert factors.measure(replace(known, factors=None)) == {}
    measured = factors.measure(replace(known, mean=known.mean * np.nan))
    assert set(measured) == {f"{name}{end}" for name in factors.names(["shape", "size"]) for end in ("", "_permuted")}
    assert set(measured.values()) == {None}


def test_a_single_level_or_a_single_dimension_has_a_number():
    known = latents(lambda values, rng: values[:, :1], count=300)
    constant = replace(known, fit_factors=known.fit_factors * [1, 0], factors=known.factors * [1, 0])
    assert all(np.isfinite(value) for value in factors.measure(constant).values())
