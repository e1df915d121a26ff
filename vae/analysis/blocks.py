"""Architectures compared within blocks: models that have all but the compared choice in common, and their seed.

Encoders are compared at equal latent size, decoder and seed, decoders at equal latent size, encoder and seed; what a
block adds to all of its models cancels. The mean difference over the blocks has an interval from Student's t:

- With several seeds, by the variance between seeds within a block, pooled over the blocks (pure error, Box, Hunter &
  Hunter 2005, section 4): the blocks are the ones of this grid, and other seeds would have given other numbers.
- With one seed, by the variance between blocks, as in a factorial without replicates: the interval says how far the
  difference holds over the contexts of this grid, and an interaction counts as error.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import pandas as pd
from scipy import stats

from vae.grid import Network
from vae.seeds import of_study

LEVEL = 0.95
# Differences below this are of no consequence, in nats per image.
MARGIN = 0.5
# Without spread there is no error to estimate: a sign test rejects zero from six equal values on.
FEWEST_EQUAL = 6
FACTORS = ("latent_size", "encoder", "decoder", "seed")


@dataclass(frozen=True)
class Grid:
    """The models of a study as a crossed table: a measure is `[latent sizes, encoders, decoders, seeds]`.

    It is NaN where a model diverged, or there is none.
    """

    levels: dict[str, list]
    measures: dict[str, np.ndarray]

    @classmethod
    def of(cls, rows: pd.DataFrame, columns: Iterable[str]) -> "Grid":
        """These columns of a table of models that has one row per latent size, encoder, decoder and seed."""
        ok = rows[rows["status"] == "ok"]
        orders = {"encoder": Network.parse, "decoder": Network.parse}
        levels = {factor: sorted(rows[factor].unique(), key=orders.get(factor)) for factor in FACTORS}
        places = tuple(ok[factor].map(levels[factor].index).to_numpy(int) for factor in FACTORS)
        shape = tuple(map(len, levels.values()))
        measures = {}
        for column in columns:
            measures[column] = np.full(shape, np.nan)
            measures[column][places] = ok[column].to_numpy(float)
        return cls(levels, measures)

    def where(self, factor: str, values: Sequence) -> "Grid":
        """The part of the grid that has these levels of a factor."""
        chosen = [self.levels[factor].index(value) for value in values]
        axis = FACTORS.index(factor)
        measures = {name: value.take(chosen, axis) for name, value in self.measures.items()}
        return Grid(self.levels | {factor: list(values)}, measures)

    def by(self, measure: str, factor: str) -> dict:
        """A measure by the levels of a factor, each `[blocks, seeds]`."""
        values = np.moveaxis(self.measures[measure], FACTORS.index(factor), 0)
        seeds = len(self.levels["seed"])
        return {level: value.reshape(-1, seeds) for level, value in zip(self.levels[factor], values, strict=True)}


@dataclass(frozen=True)
class Estimate:
    """A mean over blocks, with its standard error and interval, NaN where they cannot be told.

    `blocks` and `seeds` are how many it rests on, `freedom` the degrees of freedom of its error.
    """

    value: float
    error: float
    freedom: int
    blocks: int
    seeds: int
    level: float = LEVEL

    @property
    def interval(self) -> tuple[float, float]:
        reach = self.error * stats.t.ppf((1 + self.level) / 2, self.freedom) if self.freedom else float("nan")
        return self.value - reach, self.value + reach

    def seeds_to_decide(self, margin: float | None) -> int | None:
        """About how many seeds would decide, were the value and the spread between seeds what they seem; None for none.

        The interval has to leave zero out, or to lie within the margin.
        """
        room = [abs(self.value)] + ([margin - abs(self.value)] if margin is not None else [])
        if self.seeds < 2 or not max(room) > 0 or not np.isfinite(self.error):
            return None
        return max(
            self.seeds + 1, ceil(self.seeds * (stats.norm.ppf((1 + self.level) / 2) * self.error / max(room)) ** 2)
        )


def estimate(values: np.ndarray, level: float = LEVEL) -> Estimate:
    """The mean over the blocks of what is known of `values`, `[blocks, seeds]`, each block the mean of its seeds.

    Fewer than six values without spread, such as equal rank correlations of few decoders, have no interval.
    """
    known = np.isfinite(values)
    values, counts = values[known.any(1)], known.sum(1)[known.any(1)]
    blocks, seeds = len(values), int(counts.max(initial=0))
    if not blocks:
        return Estimate(float("nan"), float("nan"), 0, 0, 0, level)
    means = np.nanmean(values, 1)
    freedom = int((counts - 1).sum())
    if seeds > 1:
        variance = np.nansum((values - means[:, None]) ** 2) / freedom
        error = np.sqrt(variance * (1 / counts).sum()) / blocks
    else:
        freedom = blocks - 1
        error = means.std(ddof=1) / np.sqrt(blocks) if freedom else np.nan
    if error < 1e-12 and counts.sum() < FEWEST_EQUAL:
        error = np.nan
    return Estimate(float(means.mean()), float(error), freedom, blocks, seeds, level)


def verdict(low: float, high: float, margin: float | None = None) -> str:
    """The verdict of an interval on a claim that a difference is above zero.

    `equivalent` where it lies within the margin on both sides (two one-sided tests, Schuirmann 1987), `supported` above
    zero, `contradicted` below, and `undecided` elsewhere, or where there is none.
    """
    if margin is not None and -margin < low and high < margin:
        return "equivalent"
    if low > 0:
        return "supported"
    return "contradicted" if high < 0 else "undecided"


def resampled(values: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Means over the blocks of `values`, `[levels, blocks, seeds]`, in paired bootstrap resamples, `[count, levels]`.

    Seeds are drawn anew within each block, the same for all levels; with one seed, blocks are. Blocks in which a value
    is missing are left out. Deviations of few seeds are stretched, as their mean is closer to them than the true one.
    """
    values = values[:, np.isfinite(values).all((0, 2))]
    levels, blocks, seeds = values.shape
    if not blocks:
        return np.empty((0, levels))
    if seeds == 1:
        return values[:, rng.integers(blocks, size=(count, blocks)), 0].mean(-1).T
    middle = values.mean(2, keepdims=True)
    stretched = middle + (values - middle) * np.sqrt(seeds / (seeds - 1))
    drawn = rng.integers(seeds, size=(count, 1, blocks, seeds))
    return np.stack([np.take_along_axis(stretched, each, 2).mean((1, 2)) for each in drawn])


def standing(values: np.ndarray, count: int = 1000) -> np.ndarray:
    """The uncertainty of the order of some levels, of losses `[levels, blocks, seeds]`: `[levels, 3]`.

    The share of resamples in which a level has the least loss, and the ends of the 95% interval of its rank, from 1 for
    the best. NaN where there is no block that has all levels.
    """
    drawn = resampled(values, count, np.random.default_rng(of_study("bootstrap")))
    if not drawn.size:
        return np.full((len(values), 3), np.nan)
    # Accuracies are often equal: not by the last digits, which differ between processors, shall one be better.
    ranks = stats.rankdata(drawn.round(9), "min", axis=1)
    tail = (1 - LEVEL) / 2
    low, high = (np.quantile(ranks, q, axis=0, method="nearest") for q in (tail, 1 - tail))
    return np.stack([(ranks == 1).mean(0), low, high], axis=1)
