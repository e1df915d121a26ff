"""Two studies beside each other."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from scipy import stats

from vae.analysis.comparison import Study
from vae.analysis.ranking import SIDES
from vae.grid import Network
from vae.report.figures.drawing import BLUE, GREY, ORANGE, WIDTH


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
        values = sorted(table[side].unique(), key=None if side == "latent_size" else Network.parse)
        names += [f"{side.replace('_', ' ')} {value}" for value in values]
        shifts += [groups.get_group(value).mean() for value in values]
    places = np.arange(len(names))[::-1]
    right.barh(places, shifts, color=[ORANGE if shift > 0 else BLUE for shift in shifts])
    right.axvline(0, color="black", linewidth=0.8)
    right.set_yticks(places, names)
    right.set(xlabel="mean shift of ranks", title=f"better ← in {second.name} → worse")
    figure.suptitle(f"From {first.name} to {second.name}: shifted ranks by reconstruction")
    return [figure]
