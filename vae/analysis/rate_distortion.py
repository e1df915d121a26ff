"""Rate and distortion of architectures, from models that differ in the weight of the KLD (Alemi et al. 2018).

A model has a rate, its KLD, and a distortion, its reconstruction loss, both in nats per image. Models of one
architecture trained at several weights are points of its curve; at an optimum of distortion + beta · rate the curve has
the slope −beta, so that points and slopes give a cubic Hermite curve. Points above the lower convex hull of the others
are no optima, and are left out.
"""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.interpolate import CubicHermiteSpline

ARCHITECTURE = ["latent_size", "encoder", "decoder"]
# Rates at which distortions are reported, in nats.
RATES = (5, 10, 20)
SWEPT = "objective.beta"
COLUMNS = [
    *ARCHITECTURE,
    "points",
    "lowest_rate",
    "highest_rate",
    *(f"distortion_at_{rate}" for rate in RATES),
    "above_best",
]
# Rates at which two curves are compared, over those that both have.
GRID = 200


@dataclass(frozen=True)
class Curve:
    """Distortion over rate: of points `rates` `[N]`, rising, with `distortions` and weights of the KLD `betas`."""

    rates: np.ndarray
    distortions: np.ndarray
    betas: np.ndarray

    @classmethod
    def of(cls, rates: np.ndarray, distortions: np.ndarray, betas: np.ndarray) -> "Curve":
        """The curve of some points, through those on their lower convex hull."""
        kept: list[int] = []
        for place in np.lexsort((distortions, rates)):
            if kept and distortions[place] >= distortions[kept[-1]]:
                continue  # more rate for no less distortion
            while len(kept) > 1 and _above(kept[-2], kept[-1], place, rates, distortions):
                kept.pop()
            kept.append(place)
        return cls(rates[kept], distortions[kept], betas[kept])

    def __call__(self, rates: np.ndarray | float) -> np.ndarray:
        """The distortions at these rates, NaN beyond the curve's ends."""
        if len(self.rates) < 2:
            return np.where(np.isin(rates, self.rates), self.distortions[:1], np.nan)
        return CubicHermiteSpline(self.rates, self.distortions, -self.betas, extrapolate=False)(rates)

    def above(self, other: "Curve") -> float:
        """The mean vertical distance to another curve over the rates that both have; NaN where they share none."""
        low, high = max(self.rates[0], other.rates[0]), min(self.rates[-1], other.rates[-1])
        if not low < high:
            return float("nan")
        rates = np.linspace(low, high, GRID)
        return float(np.mean(self(rates) - other(rates)))


def _above(first: int, middle: int, last: int, rates: np.ndarray, distortions: np.ndarray) -> bool:
    """Whether the middle one of three points lies on or above the line through the others."""
    share = (rates[middle] - rates[first]) / (rates[last] - rates[first])
    return bool(distortions[middle] >= distortions[first] + share * (distortions[last] - distortions[first]))


def curves(rows: pd.DataFrame) -> dict[tuple[int, str, str], Curve]:
    """The curve of every architecture of a table of models that sweeps the weight of the KLD; none where it does not.

    Points are means over the seeds that did not diverge. Of several sweeps, models count that differ in this key alone.
    """
    if SWEPT not in rows or rows[SWEPT].nunique() < 2:
        return {}
    alone = rows["variant"].fillna("").map(lambda name: bool(re.fullmatch(r"(beta[^_]+)?", name)))
    known = rows[alone & (rows["status"] == "ok")]
    points = known.groupby([*ARCHITECTURE, "effective_beta"])[["kld", "reconstruction"]].mean().reset_index()
    made = {}
    for size, encoder, decoder in points[ARCHITECTURE].drop_duplicates().itertuples(index=False):
        here = points[(points[ARCHITECTURE] == [size, encoder, decoder]).all(axis=1)]
        rates, distortions, betas = (here[name].to_numpy(float) for name in ("kld", "reconstruction", "effective_beta"))
        made[int(size), str(encoder), str(decoder)] = Curve.of(rates, distortions, betas)
    return made


def by_seed(rows: pd.DataFrame) -> list[dict[tuple[int, str, str], Curve]]:
    """The curves of every seed."""
    return [curves(part) for _, part in rows.groupby("seed")]


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per architecture: its curve in numbers.

    Columns: latent_size, encoder, decoder; points on the hull; lowest_rate and highest_rate; the distortion at some
    rates, NaN beyond these; above_best, the mean distance to the curve of its latent size that is the lowest on
    average, over the rates that both have.
    """
    all_curves, described = curves(rows), []
    for key, curve in all_curves.items():
        alike = [other for other_key, other in all_curves.items() if other_key[0] == key[0]]
        distances = [distance for other in alike if np.isfinite(distance := curve.above(other))]
        at = [float(curve(float(rate))) for rate in RATES]
        above = max(distances, default=np.nan)
        described.append([*key, len(curve.rates), curve.rates[0], curve.rates[-1], *at, above])
    return pd.DataFrame(described, columns=COLUMNS)
