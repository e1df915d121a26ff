"""Two studies beside each other: which verdicts survive, and which architectures change their rank."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vae.analysis import ranking, table
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
    """Every claim of both studies with its verdict, value, interval and finding in each, and whether it survives.

    Columns of the first study end on `_a`, those of the second on `_b`.
    """
    claims_a, claims_b = (main_rows(study.claims).set_index("claim") for study in (first, second))
    names = ["verdict", "value", "low", "high", "p", "finding"]
    joined = claims_a[["sentence"]].join(
        [part[names].add_suffix(f"_{key}") for part, key in zip((claims_a, claims_b), "ab")], how="inner"
    )
    joined["survives"] = joined["verdict_a"] == joined["verdict_b"]
    return joined.reset_index()


def ranks(first: Study, second: Study) -> pd.DataFrame:
    """The architectures that both studies have, with their ranks among these, and the shift, negative for the better.

    Raises UserError where they share none.
    """
    labels_a, labels_b = (study.labels.dropna(subset="reconstruction").set_index("label") for study in (first, second))
    shared = labels_a.index.intersection(labels_b.index, sort=False)
    if shared.empty:
        raise UserError(f"{first.name} and {second.name} share no architecture: there is nothing to compare")
    shifts = labels_a.loc[shared, list(ranking.SIDES)]
    for part, key in zip((labels_a, labels_b), "ab", strict=True):
        shifts[f"rank_{key}"] = part.loc[shared, "reconstruction"].rank(method="first").astype(int)
        shifts[[f"reconstruction_{key}", f"kld_{key}"]] = part.loc[shared, ["reconstruction", "kld"]]
    return shifts.assign(shift=shifts["rank_b"] - shifts["rank_a"]).sort_values("rank_a").reset_index()
