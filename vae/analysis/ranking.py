"""Architectures, ranked by the means of their models over seeds; and the top quartile, defined once."""

from math import ceil

import numpy as np
import pandas as pd

from vae.analysis.blocks import standing
from vae.grid import Network

SIDES = ("latent_size", "encoder", "decoder")
QUARTILE = 1 / 4
LEVEL = 0.05
STANDING = ["p_best", "rank_low", "rank_high"]


def best(scores: np.ndarray, fraction: float) -> np.ndarray:
    """Which of some scores `[N]`, less is better, are the best `fraction` of those that are finite, rounded up, `[N]`.

    Of equal scores the first is the better.
    """
    finite = np.isfinite(scores)
    order = np.argsort(np.where(finite, scores, np.inf), kind="stable")
    chosen = np.zeros(len(scores), bool)
    chosen[order[: ceil(fraction * finite.sum())]] = True
    return chosen


def is_collapsed(share: pd.Series | np.ndarray) -> pd.Series | np.ndarray:
    """Whether an architecture counts as collapsed: if at least half of its seeds are."""
    return share >= 1 / 2


def by_architecture(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per label, ranked by reconstruction of validation images: means over the seeds that did not diverge.

    Losses are those of the test set, but for `validation_reconstruction`. Adds their extremes over the seeds,
    `<loss>_low` and `<loss>_high`, `seeds` (how many count) and `diverged` (how many do not). `collapsed` is the
    share of these seeds that collapsed. `p_best`, `rank_low` and `rank_high` say how sure the rank among those of its
    latent size is, by paired bootstrap over seeds. Labels of which every seed diverged come last, with NaN for what is
    measured.
    """
    ok = rows[rows["status"] == "ok"]
    labels = rows[["label", *SIDES]].drop_duplicates().set_index("label")
    for loss in ("reconstruction", "kld"):
        groups = ok.groupby("label")[loss]
        labels[loss], labels[f"{loss}_low"], labels[f"{loss}_high"] = groups.mean(), groups.min(), groups.max()
    labels["seeds"] = ok.groupby("label").size().reindex(labels.index, fill_value=0)
    labels["diverged"] = rows.groupby("label").size() - labels["seeds"]
    labels["collapsed"] = ok["collapsed"].astype(float).groupby(ok["label"]).mean()
    labels["validation_reconstruction"] = ok.groupby("label")["validation_reconstruction"].mean()
    labels = labels.sort_values("validation_reconstruction", kind="stable").reset_index()
    labels.insert(0, "rank", labels.index + 1)
    return labels.merge(_standing(ok), how="left", on="label")


def _standing(rows: pd.DataFrame) -> pd.DataFrame:
    """The uncertainty of the ranks of architectures within their latent size, of models that did not diverge, by label.

    Columns: label and `STANDING`; NaN with one seed, which has no spread, and for labels that lack a seed.
    """
    parts = []
    for _, part in rows.groupby("latent_size"):
        values = part.pivot(index="label", columns="seed", values="validation_reconstruction").dropna()
        order = standing(values.to_numpy(float)[:, None]) if values.shape[1] > 1 and len(values) else np.nan
        parts.append(pd.DataFrame(order, index=values.index, columns=STANDING))
    return (
        pd.concat(parts).reset_index() if parts else pd.DataFrame(columns=["label", "p_best", "rank_low", "rank_high"])
    )


def top(labels: pd.DataFrame, fraction: float = QUARTILE) -> pd.DataFrame:
    """The best `fraction` of ranked labels by reconstruction of validation images, as `best` counts them."""
    return labels[best(labels["validation_reconstruction"].to_numpy(float), fraction)]


def counts(labels: pd.DataFrame, fraction: float = QUARTILE) -> pd.DataFrame:
    """How often each latent size, encoder and decoder is among the best `fraction`, beside how often it is ranked.

    Columns: by, value, top, models, expected, and p. Expected is what chance gives where a choice makes no difference
    within a block, that is among the architectures that have the two other choices in common; p is the two-sided exact
    probability of a count no likelier than this under all permutations within blocks, times the number of values
    compared (Bonferroni), up to 1. Labels that diverged are not ranked.
    """
    ranked = labels.dropna(subset="reconstruction")
    ranked = ranked.assign(top=best(ranked["validation_reconstruction"].to_numpy(float), fraction))
    parts = []
    for by in SIDES:
        others = [side for side in SIDES if side != by]
        chance = ranked.groupby(others)["top"].transform("mean")
        values = sorted(labels[by].unique(), key=None if by == "latent_size" else Network.parse)
        for value in values:
            here = ranked[by] == value
            top, expected = int(ranked.loc[here, "top"].sum()), chance[here].sum()
            p = min(_as_unlikely(chance[here].to_numpy(float), top) * len(values), 1.0)
            parts.append([by, value, top, int(here.sum()), float(expected), p])
    return pd.DataFrame(parts, columns=["by", "value", "top", "models", "expected", "p"])


def _as_unlikely(chances: np.ndarray, count: int) -> float:
    """How likely a count no likelier than this is, of events that are independent and have these chances."""
    probabilities = np.ones(1)
    for chance in chances:
        probabilities = np.convolve(probabilities, [1 - chance, chance])
    return float(probabilities[probabilities <= probabilities[count] * (1 + 1e-9)].sum())


def network_order(networks: pd.Series) -> pd.Series:
    """A key that sorts networks by family and depth: CNN2 before CNN16."""
    return networks.map(Network.parse)
