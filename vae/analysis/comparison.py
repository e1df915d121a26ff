"""Two studies beside each other: which verdicts survive, and which architectures change their rank."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from vae.analysis import ranking, table
from vae.analysis.blocks import LEVEL
from vae.analysis.claims.verdicts import main_rows, read
from vae.errors import UserError


@dataclass(frozen=True)
class Study:
    """A finished study: its name, its table of claims, and its architectures ranked by reconstruction."""

    name: str
    claims: pd.DataFrame
    labels: pd.DataFrame

    @classmethod
    def read(cls, results: Path) -> "Study":
        """The study of a results folder; UserError where its tables are missing."""
        rows = table.base(table.read(results / "tables/models.csv"))
        name = results.resolve().parent.name if results.name == "results" else results.name
        return cls(name, read(results / "tables/claims.csv"), ranking.by_architecture(rows))


def verdicts(first: Study, second: Study) -> pd.DataFrame:
    """Every claim of both studies with its verdict, value, interval and finding in each, and how these differ.

    Columns of the first study end on `_a`, those of the second on `_b`. `difference` is the second's value less the
    first's, with `low` and `high`, its 95% interval (Welch 1947), NaN where a study has none. `outcome` is one of
    `OUTCOMES`.
    """
    claims_a, claims_b = (main_rows(study.claims).set_index("claim") for study in (first, second))
    names = ["verdict", "value", "low", "high", "error", "freedom", "finding"]
    joined = claims_a[["sentence", "unit"]].join(
        [part[names].add_suffix(f"_{key}") for part, key in zip((claims_a, claims_b), "ab")], how="inner"
    )
    variances = [joined[f"error_{key}"].astype(float) ** 2 for key in "ab"]
    total = variances[0] + variances[1]
    freedom = total**2 / sum(v**2 / joined[f"freedom_{key}"].astype(float) for v, key in zip(variances, "ab"))
    reach = np.sqrt(total) * stats.t.ppf((1 + LEVEL) / 2, freedom.where(total > 0, np.inf))
    joined["difference"] = joined["value_b"] - joined["value_a"]
    joined["low"], joined["high"] = joined["difference"] - reach, joined["difference"] + reach
    joined["outcome"] = [_outcome(row) for row in joined.itertuples()]
    return joined.reset_index()


SURVIVES, DIFFERS, IDENTITY, OPEN = OUTCOMES = ("survive", "differ", "are identities", "are open")


def _outcome(claim: Any) -> str:
    """The joint outcome of a claim in two studies."""
    if claim.verdict_a == claim.verdict_b:
        return {"identity": IDENTITY, "undecided": OPEN}.get(claim.verdict_a, SURVIVES)
    return DIFFERS if claim.low > 0 or claim.high < 0 else OPEN


def ranks(first: Study, second: Study) -> pd.DataFrame:
    """The architectures that both studies have, with their ranks among those of their latent size, and the shift.

    It is negative for the better.

    Raises UserError where they share none.
    """
    labels_a, labels_b = (study.labels.dropna(subset="reconstruction").set_index("label") for study in (first, second))
    shared = labels_a.index.intersection(labels_b.index, sort=False)
    if shared.empty:
        raise UserError(f"{first.name} and {second.name} share no architecture: there is nothing to compare")
    shifts = labels_a.loc[shared, list(ranking.SIDES)]
    for part, key in zip((labels_a, labels_b), "ab", strict=True):
        here = part.loc[shared]
        shifts[f"rank_{key}"] = here.groupby("latent_size")["reconstruction"].rank(method="first").astype(int)
        shifts[[f"reconstruction_{key}", f"kld_{key}"]] = part.loc[shared, ["reconstruction", "kld"]]
    return shifts.assign(shift=shifts["rank_b"] - shifts["rank_a"]).sort_values(["latent_size", "rank_a"]).reset_index()
