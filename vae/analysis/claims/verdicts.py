"""Verdicts on the claims, from the table of models alone.

Architectures are compared within blocks that share all else (`vae.analysis.blocks`); with one seed over the contexts of
the grid, with several over seeds. The rule is the same for all and fixed beforehand (`vae.analysis.claims.testing`).
"""

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path

import pandas as pd

from vae.analysis.blocks import MARGIN, Grid
from vae.analysis.certificate import FLAGGED
from vae.analysis.claims.answer import ANSWERS
from vae.analysis.claims.paper import CLAIMS, Claim
from vae.analysis.claims.statistics import Ranking, View
from vae.analysis.ranking import QUARTILE
from vae.analysis.rate_distortion import Curve
from vae.analysis.table import read_csv

RANKINGS = (
    Ranking("reconstruction", "reconstruction loss", "validation_reconstruction", 1, MARGIN, "nats"),
    Ranking("elbo", "−ELBO", "validation_elbo", -1, MARGIN, "nats"),
    Ranking("iwae_bound", "negative IWAE bound", "iwae_bound", -1, MARGIN, "nats"),
    Ranking(
        "probe_accuracy_sampled", "error of the probe", "probe_accuracy_sampled", -1, 0.01, "points of accuracy", 100
    ),
)
CUTOFFS = (QUARTILE, 0.1, 0.5)
GAPS = ("train_amortisation_gap", "generalisation_gap")
MEASURES = ("reconstruction", "kld", "collapsed", "probe_accuracy_sampled", "probe_accuracy_pca")
NUMBERS = ("value", "low", "high", "error", "freedom")
# Columns that pages need of a table of claims.
NEEDED = {
    "claim",
    "of",
    "sentence",
    "unit",
    "verdict",
    "value",
    "error",
    "finding",
    "reason",
    "rests_on",
    "at_this_budget",
}


def verdicts(
    rows: pd.DataFrame, swap: pd.DataFrame | None = None, curves: Sequence[dict[tuple[int, str, str], Curve]] = ()
) -> pd.DataFrame:
    """Every claim under every ranking and cutoff that it depends on, one row each, those that decide first.

    `rows` is the table of models of the config itself, `swap` that of the encoder swap, and `curves` are those of rate
    and distortion, by seed, where there are any. Claims of `vae.analysis.claims.answer` are there where the gaps of
    inference were measured; they leave out those of models that the certificate flags.

    Columns: claim, of (`paper` or `answer`), sentence, statistic (in words), unit, figure, ranking, cutoff, value, low,
    high, error, freedom (the error's degrees of freedom), verdict, rests_on, finding, reason.
    """
    parts = []
    for ranking in RANKINGS:
        usual = view(rows, ranking)
        for cutoff in CUTOFFS:
            of = replace(usual, cutoff=cutoff)
            first = {"ranking": ranking is RANKINGS[0], "cutoff": cutoff == CUTOFFS[0]}
            parts += [
                row(claim, of) for claim in CLAIMS.values() if all(first[name] or name in claim.by for name in first)
            ]
    if "amortisation_gap" in rows:
        # The gaps of a model that is not trained to the end are not those of its architecture.
        trained = rows.assign(**{gap: rows[gap].where(rows["slack"] <= FLAGGED) for gap in GAPS})
        whole = replace(view(trained), swap=pd.DataFrame() if swap is None else swap, curves=list(curves))
        parts += [row(claim, whole, "answer") for claim in ANSWERS.values()]
    return pd.DataFrame(parts)


def view(rows: pd.DataFrame, ranking: Ranking = RANKINGS[0]) -> View:
    """A table of models as claims see it, at the first cutoff."""
    grid = Grid.of(rows, {*MEASURES, *(name for name in GAPS if name in rows), ranking.column})
    grid.measures["score"] = ranking.sign * grid.measures[ranking.column]
    return View(grid, ranking, CUTOFFS[0])


def row(claim: Claim, view: View, of: str = "paper") -> dict:
    """A row of `verdicts`."""
    tested = claim.test(view)
    return {
        "claim": claim.name,
        "of": of,
        "sentence": claim.sentence,
        "statistic": claim.meaning,
        "unit": view.ranking.unit if claim.unit == "loss" else claim.unit,
        "figure": claim.figure,
        "ranking": view.ranking.name,
        "cutoff": view.cutoff,
        "value": tested.value,
        "low": tested.low,
        "high": tested.high,
        "error": tested.error,
        "freedom": tested.freedom,
        "verdict": tested.verdict,
        "rests_on": tested.rests_on,
        "finding": claim.finding(view, tested) if isfinite(tested.value) else "",
        "reason": tested.reason,
    }


def read(path: str | Path) -> pd.DataFrame:
    """Read a table of claims back; UserError where the file is missing, damaged or is not one."""
    empty = dict.fromkeys(["value", "low", "high", "error", "freedom"], "")
    return read_csv(path, NEEDED, "table of claims", keep_default_na=False, na_values=empty)


def main_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The row of each claim under the ranking and the cutoff that decide: those that stand first."""
    return table.drop_duplicates("claim")
