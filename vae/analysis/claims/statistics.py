"""The data of claims: the models of a study as a crossed table, and the statistics that several claims share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats

from vae.analysis.blocks import FACTORS, Grid
from vae.analysis.ranking import best
from vae.analysis.rate_distortion import Curve
from vae.grid import Network


@dataclass(frozen=True)
class Ranking:
    """A ranking of architectures by a column of the table of models, of the validation set if it has one.

    `loss` is its name in a sentence. `sign` is 1 where less is better. Differences below `margin` are of no
    consequence. `unit` is that of amounts, which are `scale` times what the column has.
    """

    name: str
    loss: str
    column: str
    sign: int
    margin: float
    unit: str
    scale: float = 1.0


@dataclass(frozen=True)
class View:
    """A study under one ranking and cutoff; its measure `score` is what ranks, less is better.

    `swap` is the table of the encoder swap, and `curves` are those of rate and distortion, by seed; both are empty
    where a study has none.
    """

    grid: Grid
    ranking: Ranking
    cutoff: float
    swap: pd.DataFrame = field(default_factory=pd.DataFrame)
    curves: list[dict[tuple[int, str, str], Curve]] = field(default_factory=list)

    @property
    def coded(self) -> Grid:
        """The part of the grid whose latent sizes have a model that did not collapse.

        Where all did, codes carry no information, and architectures cannot differ by it.
        """
        collapsed = self.grid.measures["collapsed"]
        sizes = self.grid.levels["latent_size"]
        return self.grid.where(
            "latent_size", [size for place, size in enumerate(sizes) if (collapsed[place] < 1).any()]
        )

    def families(self, side: str) -> list[str]:
        """The families of a side's networks."""
        return list(dict.fromkeys(Network.parse(name).family for name in self.grid.levels[side]))

    def networks(self, side: str, family: str, depths: Callable[[int], bool] = lambda depth: True) -> list[str]:
        """The networks of a side that are of a family, and of some depths, the simplest first."""
        parsed = {name: Network.parse(name) for name in self.grid.levels[side]}
        return [name for name, network in parsed.items() if network.family == family and depths(network.depth)]

    def lead(self, factor: str, better: Sequence[str], worse: Sequence[str]) -> np.ndarray:
        """How much less `better` lose than `worse`, as means over each, `[blocks, seeds]`; empty where one lacks."""
        scores = self.coded.by("score", factor)
        if not better or not worse or not {*better, *worse} <= set(scores):
            return np.empty((0, 1))
        return np.mean([scores[name] for name in worse], 0) - np.mean([scores[name] for name in better], 0)

    def leads(self, factor: str, first: str, others: Sequence[str]) -> dict[str, np.ndarray]:
        """How much less the first loses than each of the others."""
        return {other: self.lead(factor, [first], [other]) for other in others}

    def pairs(self, family: str, depth: tuple[int, ...]) -> np.ndarray:
        """The scores of a family's pair, of its encoder and decoder at these places by depth, `[sizes, seeds]`."""
        places = [
            self.grid.levels[side].index(self.networks(side, family)[place])
            for side, place in zip(("encoder", "decoder"), depth, strict=True)
        ]
        return self.coded.measures["score"][:, places[0], places[1]]

    def amount(self, difference: float) -> str:
        """A difference in words, without its sign."""
        return f"{abs(difference) * self.ranking.scale:.2f} {self.ranking.unit}"


def correlations(grid: Grid, first: str, second: str, axes: tuple[str, ...], cutoff: float = 1.0) -> np.ndarray:
    """Spearman's rank correlations of two measures over some factors, `[blocks, seeds]`, NaN where one does not vary.

    A block is what the other factors have in common. Only the best `cutoff` of a block by the second measure count.
    """
    places = [FACTORS.index(axis) for axis in axes]
    moved = [np.moveaxis(grid.measures[name], places, range(len(axes))) for name in (first, second)]
    shape = moved[0].shape[len(axes) :]
    if not moved[0].size:  # no latent size at which anything is coded
        return np.empty((0, 1))
    flat = [values.reshape(-1, *shape) for values in moved]
    coefficients = np.full(shape, np.nan)
    for place in np.ndindex(*shape):
        x, y = (values[(slice(None), *place)] for values in flat)
        known = np.isfinite(x) & np.isfinite(y) & best(np.where(np.isfinite(x), y, np.nan), cutoff)
        if known.sum() > 2 and np.ptp(x[known]) > 0 and np.ptp(y[known]) > 0:
            coefficients[place] = stats.spearmanr(x[known], y[known]).statistic
    return coefficients.reshape(-1, shape[-1])
