"""Two studies beside each other: which verdicts survive, and which architectures change their rank."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from scipy import stats

from vae import page, ranking
from vae.errors import UserError
from vae.figures import BLUE, GREY, ORANGE, WIDTH
from vae.grid import Network

SIDES = ("latent_size", "encoder", "decoder")


@dataclass(frozen=True)
class Study:
    """A finished study: its name, its table of claims, and its architectures ranked by reconstruction."""

    name: str
    claims: pd.DataFrame
    labels: pd.DataFrame

    @classmethod
    def read(cls, results: Path) -> "Study":
        """The study of a results folder; UserError where its tables are missing."""
        rows = ranking.read(results / "tables/models.csv")
        name = results.resolve().parent.name if results.name == "results" else results.name
        return cls(name, page.read(results / "tables/claims.csv"), ranking.by_architecture(rows))


def verdicts(first: Study, second: Study) -> pd.DataFrame:
    """Every claim of both studies with its verdict, value, interval and finding in each, and whether it survives.

    Columns of the first study end on `_a`, those of the second on `_b`.
    """
    both = [page.main_rows(study.claims).set_index("claim") for study in (first, second)]
    names = ["verdict", "value", "low", "high", "p", "finding"]
    table = both[0][["sentence"]].join(
        [part[names].add_suffix(f"_{key}") for part, key in zip(both, "ab")], how="inner"
    )
    table["survives"] = table["verdict_a"] == table["verdict_b"]
    return table.reset_index()


def ranks(first: Study, second: Study) -> pd.DataFrame:
    """The architectures that both studies have, with their ranks among these, and the shift, negative for the better.

    Raises UserError where they share none.
    """
    both = [study.labels.dropna(subset="reconstruction").set_index("label") for study in (first, second)]
    shared = both[0].index.intersection(both[1].index, sort=False)
    if shared.empty:
        raise UserError(f"{first.name} and {second.name} share no architecture: there is nothing to compare")
    table = both[0].loc[shared, list(SIDES)]
    for part, key in zip(both, "ab", strict=True):
        table[f"rank_{key}"] = part.loc[shared, "reconstruction"].rank(method="first").astype(int)
        table[[f"reconstruction_{key}", f"kld_{key}"]] = part.loc[shared, ["reconstruction", "kld"]]
    return table.assign(shift=table["rank_b"] - table["rank_a"]).sort_values("rank_a").reset_index()


def shifted_ranks(table: pd.DataFrame, first: Study, second: Study) -> list[Figure]:
    """Ranks of one study over those of the other, and the mean shift of each latent size, encoder and decoder."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 4.2), width_ratios=[1.15, 1])
    sizes = sorted(table["latent_size"].unique())
    for size, colour in zip(sizes, plt.get_cmap("viridis")(np.linspace(0, 0.9, len(sizes))), strict=True):
        here = table[table["latent_size"] == size]
        left.plot(here["rank_a"], here["rank_b"], "o", color=colour, markersize=4, label=f"latent size {size}")
    left.plot([1, len(table)], [1, len(table)], color=GREY, linewidth=1, linestyle="--")
    left.set(xlabel=f"rank in {first.name} (1 = best)", ylabel=f"rank in {second.name}", box_aspect=1)
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=4, columnspacing=1, handletextpad=0.2)
    if len(table) > 2:
        left.set_title(f"rank correlation {stats.spearmanr(table['rank_a'], table['rank_b']).statistic:.2f}")
    names, shifts = [], []
    for side in SIDES:
        groups = table.groupby(side)["shift"]
        values = sorted(groups.groups) if side == "latent_size" else sorted(groups.groups, key=Network.parse)
        names += [f"{side.replace('_', ' ')} {value}" for value in values]
        shifts += [groups.get_group(value).mean() for value in values]
    places = np.arange(len(names))[::-1]
    right.barh(places, shifts, color=[ORANGE if shift > 0 else BLUE for shift in shifts])
    right.axvline(0, color="black", linewidth=0.8)
    right.set_yticks(places, names)
    right.set(xlabel="mean shift of ranks", title=f"better ← in {second.name} → worse")
    figure.suptitle(f"From {first.name} to {second.name}: shifted ranks by reconstruction")
    return [figure]


def write_page(table: pd.DataFrame, first: Study, second: Study, figure: Path) -> str:
    """The verdicts side by side, and the figure of shifted ranks."""
    rows = [
        f"<tr><td>{page.text(one.sentence)}</td>"
        + "".join(
            f'<td class="{verdict}">{verdict}</td><td>{page.text(finding)}<br><small>{number}</small></td>'
            for verdict, finding, number in (
                (one.verdict_a, one.finding_a, page.number(one.value_a, one.low_a, one.high_a, one.p_a)),
                (one.verdict_b, one.finding_b, page.number(one.value_b, one.low_b, one.high_b, one.p_b)),
            )
        )
        + "</tr>"
        for one in table.itertuples()
    ]
    names = page.text(first.name), page.text(second.name)
    head = "<tr><th>the paper says</th>" + "".join(f"<th colspan=2>{name}</th>" for name in names) + "</tr>"
    both = (table["survives"] & (table["verdict_a"] == "supported")).sum()
    summary = (
        f"{table['survives'].sum()} of {len(table)} verdicts are the same in {names[0]} and {names[1]};"
        f" claims that are supported in both: {both}."
    )
    body = [f"<p>{summary}</p>", "<table>", head, *rows, "</table>", page.figure(figure)]
    return page.PAGE.format(title=f"{names[0]} and {names[1]}", body="\n".join(body))
