from math import log

import numpy as np
import pytest

from vae.measures.codes.mutual_information import measure, mutual_information
from vae.measures.latents import Latents


def test_codes_that_say_nothing_and_codes_that_say_everything():
    silent = np.zeros((100, 3))
    assert mutual_information(silent, silent, 0)[0] == pytest.approx(0, abs=1e-9)
    apart = np.arange(100)[:, None] * np.array([[10.0, 0, 0]])
    information, most = mutual_information(apart, np.full((100, 3), -2.0), 0)
    assert information == pytest.approx(most) == pytest.approx(log(100))


def test_a_gaussian_channel_has_its_capacity():
    """I = log(1 + signal / noise) / 2 for each dimension."""
    mean = np.random.default_rng(0).standard_normal((2000, 2)) * [3.0, 1.0]
    information, _ = mutual_information(mean, np.zeros((2000, 2)), 1)
    assert information == pytest.approx(log(1 + 9) / 2 + log(1 + 1) / 2, abs=0.08)


def test_posteriors_that_are_not_finite_have_no_estimate():
    latents = Latents(
        np.zeros((1, 2)), np.zeros((1, 2)), np.full((5, 2), np.nan), np.zeros((5, 2)), np.arange(1), np.arange(4)
    )
    assert measure(latents) == {"mutual_information": None, "mutual_information_ceiling": log(4)}
