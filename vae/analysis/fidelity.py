"""Whether a study's budget is enough: the gain of its sentinels at twice the budget."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from vae import provenance
from vae.grid import sentinels

# A study is converged where no sentinel gains as much, in nats per image, and their order stays as alike.
GAIN, TAU = 0.5, 0.9
COLUMNS = ["label", "seed", "epochs", "loss", "loss_at_twice", "gain", "rank", "rank_at_twice"]


def gather(results: Path, config: dict, rows: pd.DataFrame) -> pd.DataFrame:
    """One row per sentinel: what it loses on validation images, in nats per image, and what at twice the budget.

    `rows` is the table of models. Columns are `COLUMNS`; a loss is NaN where the training diverged.
    """
    # Where every model diverged, columns of losses hold None.
    models = rows.set_index(["label", "seed"]).astype({"validation_reconstruction": float, "validation_kld": float})
    table = []
    for spec in sentinels(config):
        twice = provenance.read(results / f"fidelity/{spec.pair}.json")
        row = models.loc[(str(spec), twice["seed"])]
        loss = row["validation_reconstruction"] + row["effective_beta"] * row["validation_kld"]
        losses = {"loss": loss, "loss_at_twice": twice["validation_loss"]}
        table.append({"label": str(spec), "seed": twice["seed"], "epochs": row["epochs"]} | losses)
    budget = pd.DataFrame(table, columns=COLUMNS).astype({"loss": float, "loss_at_twice": float})
    budget["gain"] = budget["loss"] - budget["loss_at_twice"]
    for name in ("", "_at_twice"):
        budget[f"rank{name}"] = budget[f"loss{name}"].rank(method="first").astype("Int64")
    return budget


@dataclass(frozen=True)
class Fidelity:
    """The largest gain of a sentinel, in nats per image, and Kendall's tau of their order; NaN where there are none.

    `whole` is whether none of them diverged.
    """

    gain: float
    tau: float
    whole: bool = True

    @classmethod
    def of(cls, budget: pd.DataFrame) -> "Fidelity":
        """That of a table that `gather` made."""
        finite = budget.dropna(subset=["loss", "loss_at_twice"])
        tau = stats.kendalltau(finite["loss"], finite["loss_at_twice"]).statistic if len(finite) > 1 else np.nan
        return cls(float(budget["gain"].max()), float(tau), len(finite) == len(budget))

    @property
    def converged(self) -> bool:
        """Whether ranks are those of trained models; not where nothing is known of it."""
        return self.whole and self.gain < GAIN and self.tau >= TAU
