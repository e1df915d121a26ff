"""The architectures that claims are tested on, and the statistics that several claims share."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from vae.analysis.ranking import best
from vae.grid import Network


@dataclass
class Sample:
    """Architectures with their means over seeds, one entry each; `score` is what ranks them, less is better.

    `collapsed` is the share of seeds that collapsed. `encoders` are all those of the grid, also where a resample has
    none of them.
    """

    score: np.ndarray
    reconstruction: np.ndarray
    kld: np.ndarray
    knn_accuracy: np.ndarray
    collapsed: np.ndarray
    latent_size: np.ndarray
    encoder: np.ndarray
    decoder: np.ndarray
    encoders: np.ndarray
    cutoff: float

    @property
    def top(self) -> np.ndarray:
        """Which are among the best `cutoff`, a share, as `vae.analysis.ranking.best` counts them."""
        return best(self.score, self.cutoff)


def of_family(networks: np.ndarray, name: str, depths: Callable[[int], bool] = lambda depth: True) -> np.ndarray:
    parsed = {name: Network.parse(name) for name in np.unique(networks)}
    fits = {text: network.family == name and depths(network.depth) for text, network in parsed.items()}
    return np.array([fits[text] for text in networks], bool)


def mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def in_deviations(difference: float, sample: Sample) -> float:
    """A difference of scores in standard deviations over the grid; NaN where all are the same."""
    deviation = sample.score.std()
    return difference / deviation if deviation > 1e-12 else float("nan")


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation; NaN where one side does not vary or is missing."""
    first, second = _finite_pairs(first, second)
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(stats.rankdata(first), stats.rankdata(second))[0, 1])


def rank_correlation_p(first: np.ndarray, second: np.ndarray) -> float:
    """The two-sided p-value of Spearman's rank correlation."""
    if np.isnan(rank_correlation(first, second)):
        return float("nan")
    return float(stats.spearmanr(*_finite_pairs(first, second)).pvalue)


def _finite_pairs(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The entries of both at which both are finite."""
    finite = np.isfinite(first) & np.isfinite(second)
    return first[finite], second[finite]


def enriched(sample: Sample, chosen: np.ndarray) -> float:
    """Fisher's exact test, two-sided, of whether `chosen` are as often in the top as others."""
    top = sample.top
    table = np.array([[(top & group).sum(), (~top & group).sum()] for group in (chosen, ~chosen)])
    return float(stats.fisher_exact(table).pvalue)


def of_each(sample: Sample, networks: np.ndarray) -> str:
    """How many models of each network are in the top, the most frequent first."""
    top = sample.top
    here = {name: top[networks == name] for name in np.unique(networks)}
    ordered = sorted(here, key=lambda name: -here[name].sum() / len(here[name]))
    return "In the top: " + ", ".join(f"{here[name].sum()} of {len(here[name])} {name}" for name in ordered) + "."


def by_latent_size(sample: Sample, values: np.ndarray) -> str:
    sizes = np.unique(sample.latent_size)
    return ", ".join(f"{mean(values[sample.latent_size == size]):.0%} at {size}" for size in sizes) + "."
