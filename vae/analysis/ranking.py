"""Architectures, ranked by the means of their models over seeds; and the top quartile, defined once."""

from math import ceil

import numpy as np
import pandas as pd
from scipy import stats

from vae.grid import Network

SIDES = ("latent_size", "encoder", "decoder")
QUARTILE = 1 / 4
LEVEL = 0.05


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
    share of these seeds that collapsed. Labels of which every seed diverged come last, with NaN for what is measured.
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
    return labels


def top(labels: pd.DataFrame, fraction: float = QUARTILE) -> pd.DataFrame:
    """The best `fraction` of ranked labels by reconstruction of validation images, as `best` counts them."""
    return labels[best(labels["validation_reconstruction"].to_numpy(float), fraction)]


def counts(labels: pd.DataFrame, fraction: float = QUARTILE) -> pd.DataFrame:
    """How often each latent size, encoder and decoder is among the best `fraction`, beside how often it is ranked.

    Columns: by, value, top, models, expected, the count that chance would give, and p, of Fisher's exact test of that,
    times the number of values compared (Bonferroni), up to 1. Labels that diverged are not ranked.
    """
    ranked, chosen = labels.dropna(subset="reconstruction"), top(labels, fraction)
    rest = len(ranked) - len(chosen)
    parts = []
    for by in SIDES:
        values = sorted(labels[by].unique(), key=None if by == "latent_size" else Network.parse)
        part = pd.DataFrame(
            {"top": chosen[by].value_counts(), "models": ranked[by].value_counts()},
            index=pd.Index(values, name="value"),
        )
        part = part.fillna(0).astype(int)
        part["expected"] = part["models"] * len(chosen) / max(len(ranked), 1)
        tests = (
            stats.fisher_exact(
                np.array([[inside, every - inside], [len(chosen) - inside, rest - every + inside]])
            ).pvalue
            for inside, every in zip(part["top"], part["models"], strict=True)
        )
        part["p"] = np.minimum(np.fromiter(tests, float) * len(part), 1)
        part.insert(0, "by", by)
        parts.append(part.reset_index())
    return pd.concat(parts, ignore_index=True)[["by", "value", "top", "models", "expected", "p"]]


def network_order(networks: pd.Series) -> pd.Series:
    """A key that sorts networks by family and depth: CNN2 before CNN16."""
    return networks.map(Network.parse)
