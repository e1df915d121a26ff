"""Verdicts on the claims, from the table of models alone.

A claim's statistic is a number that is positive where the claim holds, or several, where it holds if all are positive;
then the least stands for it. Its interval is the 95% percentile interval of a bootstrap over architectures and, within
each, over seeds. Of several numbers it is the least of the lower ends to the least of the upper ends, these at a level
corrected for their number (Bonferroni), because the least of several noisy numbers is too small. The rule, the same for
all and fixed before looking: supported where the whole interval is above zero, contradicted where it is all below,
undecided otherwise. With one seed the spread between seeds cannot be measured, so there is no interval and no verdict:
undecided. Architectures are compared by their means over seeds; models that diverged are left out.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from vae.analysis.claims.paper import CLAIMS, Claim
from vae.analysis.claims.statistics import Sample
from vae.analysis.ranking import QUARTILE, SIDES
from vae.errors import UserError
from vae.seeds import of_study

# What architectures are ranked by: a column, of the validation set where it has one, and 1 where less is better.
RANKINGS = {
    "reconstruction": ("validation_reconstruction", 1),
    "elbo": ("validation_elbo", -1),
    "likelihood_bound": ("likelihood_bound", -1),
    "knn_accuracy": ("knn_accuracy", -1),
}
CUTOFFS = (QUARTILE, 0.1, 0.5)
RESAMPLES = 1000
LEVEL = 0.95
# Columns that pages need of a table of claims.
NEEDED = {"claim", "sentence", "verdict", "value", "finding", "flips", "at_this_budget"}


class Replicates:
    """The measures of every architecture and seed; draws the samples that statistics are computed on."""

    def __init__(self, rows: pd.DataFrame):
        ok = rows[rows["status"] == "ok"]
        facts = ok.drop_duplicates("label").set_index("label")
        self.facts = {name: facts[name].to_numpy() for name in SIDES}
        columns = {column for column, _ in RANKINGS.values()}
        self.measures = {
            name: ok.pivot(index="label", columns="seed", values=name).loc[facts.index].to_numpy(float)
            for name in {"kld", "collapsed", "reconstruction", "knn_accuracy"} | columns
        }
        self.architectures, self.seeds = self.measures["kld"].shape

    def means(self, rng: np.random.Generator | None) -> dict[str, np.ndarray]:
        """Means over the finite seeds of every architecture; both are resampled if there is an rng."""
        shape = self.architectures, self.seeds
        if rng is None:
            labels, seeds = np.arange(self.architectures), np.broadcast_to(np.arange(self.seeds), shape)
        else:
            labels = rng.integers(self.architectures, size=self.architectures)
            seeds = rng.integers(self.seeds, size=shape)
        means = {name: values[labels] for name, values in self.facts.items()}
        for name, values in self.measures.items():
            drawn = np.take_along_axis(values[labels], seeds, 1)
            finite = np.isfinite(drawn)  # a seed that diverged is not
            with np.errstate(invalid="ignore"):
                means[name] = np.where(finite, drawn, 0).sum(1) / finite.sum(1)
        return means

    def sample(self, means: dict[str, np.ndarray], ranking: str, cutoff: float) -> Sample:
        """The architectures as ranked by one measure, without those that it is missing of."""
        column, sign = RANKINGS[ranking]
        finite = np.isfinite(means["kld"]) & np.isfinite(means[column])
        shown = {name: values[finite] for name, values in means.items()}
        names = ("reconstruction", "kld", "collapsed", "knn_accuracy", *self.facts)
        return Sample(
            score=sign * shown[column],
            encoders=np.unique(self.facts["encoder"]),
            cutoff=cutoff,
            **{name: shown[name] for name in names},
        )


def verdicts(rows: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Every claim under every ranking and cutoff, one row each; those of reconstruction and a quarter come first.

    Columns: claim, sentence, statistic (in words), figure, ranking, cutoff, value, low, high, p, verdict, finding (in
    plain words), architectures, seeds, and in the first row of a claim flips: where another ranking or cutoff says
    otherwise.
    """
    replicates = Replicates(rows)
    rng = np.random.default_rng(of_study("bootstrap"))
    drawn = [replicates.means(rng) for _ in range(resamples)] if replicates.seeds > 1 else []
    once = replicates.means(None)
    parts = []
    for ranking, (column, _) in RANKINGS.items():
        if replicates.architectures and not np.isfinite(once[column]).any():
            continue  # kNN accuracy without labels
        for cutoff in CUTOFFS:
            whole = replicates.sample(once, ranking, cutoff)
            resampled = [replicates.sample(means, ranking, cutoff) for means in drawn]
            conditions = {"ranking": ranking, "cutoff": cutoff}
            parts += [_describe(claim) | conditions | _test(claim, whole, resampled) for claim in CLAIMS.values()]
    table = _with_flips(pd.DataFrame(parts))
    return table.assign(architectures=replicates.architectures, seeds=replicates.seeds)


def _describe(claim: Claim) -> dict:
    return {
        "claim": claim.name,
        "sentence": claim.sentence,
        "statistic": claim.meaning,
        "figure": claim.figure,
    }


def _test(claim: Claim, whole: Sample, resampled: list[Sample]) -> dict:
    """Value, interval, p-value, verdict and finding of a claim; nothing can be said where every model diverged."""
    empty = not len(whole.score)
    value = float("nan") if empty else _least(claim.statistic(whole))
    low, high = _interval([np.atleast_1d(claim.statistic(sample)) for sample in resampled])
    return {
        "value": value,
        "low": low,
        "high": high,
        "p": claim.p(whole) if claim.p and not empty else float("nan"),
        "verdict": verdict(low, high),
        "finding": claim.finding(whole, value) if np.isfinite(value) else "",
    }


def _with_flips(table: pd.DataFrame) -> pd.DataFrame:
    """The table with what other rankings and cutoffs say otherwise, in the first row of each claim."""
    first = table.groupby("claim")["verdict"].transform("first")
    flips = dict.fromkeys(table.index, "")
    for name, group in table[table["verdict"] != first].groupby("claim"):
        flips[table["claim"].eq(name).idxmax()] = "; ".join(
            f"{verdict} by {', '.join(rankings)} at {cutoff:.0%}"
            for (verdict, cutoff), rankings in group.groupby(["verdict", "cutoff"], sort=False)["ranking"]
        )
    return table.assign(flips=pd.Series(flips))


def verdict(low: float, high: float) -> str:
    """`supported` above zero, `contradicted` below, `undecided` across it or where there is no interval."""
    if low > 0:
        return "supported"
    return "contradicted" if high < 0 else "undecided"


def _least(parts: float | list[float]) -> float:
    return float(np.min(parts)) if np.size(parts) else float("nan")


def _interval(values: list[np.ndarray]) -> tuple[float, float]:
    """The interval of a statistic of one or several parts, `[parts]` for every resample."""
    finite = np.array([value for value in values if np.isfinite(value).all()])
    # A statistic that most resamples do not have, such as that of a network which is not in the grid, has no interval.
    if len(finite) <= len(values) / 2 or not finite.size:
        return float("nan"), float("nan")
    _, parts = finite.shape
    tail = (1 - LEVEL) / 2
    low, high = (np.quantile(finite, level, axis=0).min() for level in (tail, 1 - tail / parts))
    return float(low), float(high)


def read(path: str | Path) -> pd.DataFrame:
    """Read a table of claims back; UserError where the file is missing or is not one."""
    try:
        table = pd.read_csv(path, keep_default_na=False, na_values={"low": "", "high": "", "p": "", "value": ""})
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a table of claims ({error})") from None
    if missing := NEEDED - set(table):
        raise UserError(f"{path}: not a table of claims (has no column {', '.join(sorted(missing))})")
    return table


def main_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The row of each claim under the ranking and the cutoff that decide: those that stand first."""
    return table[(table["ranking"] == table["ranking"].iloc[0]) & (table["cutoff"] == table["cutoff"].iloc[0])]
