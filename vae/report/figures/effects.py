"""The effects of encoder and decoder: shares of variance, and marginal means."""

from math import ceil

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vae.analysis.effects import ERROR
from vae.report.figures.drawing import (
    BLUE,
    GREY,
    ORANGE,
    WIDTH,
    Study,
    figure,
    legend_below,
    line,
    nothing_to_draw,
)

SIZE, SIDES = "latent_size", ("encoder", "decoder")
# Encoder and decoder in strong colours, interactions in pale ones, the error in grey.
COLOURS = dict(zip(SIDES, (ORANGE, BLUE), strict=True))
PALE = ("#CDE8DF", "#BBD9EA", "#F7E0AE", "#E3CFE0")
SPACE = ("_", " ")


@figure
def effects(study: Study) -> list[Figure]:
    """The share of the variance that encoder and decoder explain, and the marginal mean of each."""
    if not set(SIDES) & set(study.effects["term"]):
        return [nothing_to_draw("effects: too few models to compare, there is nothing to draw")]
    seeds = int(study.effects["seeds"].max())
    over = f"between {seeds} seeds" if seeds > 1 else "over contexts (one seed)"
    first = _shares(study)
    first.suptitle("Share of the variance that each choice explains, at equal latent size")
    second = _means(study)
    second.suptitle(f"Difference of each encoder and decoder from the mean of all; 95% intervals {over}")
    return [first, second]


def _shares(study: Study) -> Figure:
    """Of what the latent size does not explain, which is named beside each measure."""
    table = study.effects.pivot(index="measure", columns="term", values="share")
    table = table.loc[study.effects["measure"].unique()[::-1], study.effects["term"].unique()].fillna(0)
    of_size = table.pop(SIZE) if SIZE in table else pd.Series(0.0, table.index)
    table = table.div(1 - of_size, axis="index")
    page, axes = plt.subplots(figsize=(WIDTH, 0.4 * len(table) + 1.5))
    pale, left = iter(PALE), np.zeros(len(table))
    for term in map(str, table):
        colour = COLOURS.get(term) or (GREY if ERROR in term else next(pale))
        share = table[term].to_numpy()
        bars = axes.barh(range(len(table)), share, left=left, color=colour, label=term.replace(*SPACE))
        written = [f"{value:.0%}" if value >= 0.04 else "" for value in share]
        axes.bar_label(bars, written, label_type="center", fontsize=7)
        left += share
    names = [f"{measure}\n(latent size: {of_size[measure]:.1%} of all)" for measure in table.index]
    axes.set_yticks(range(len(table)), names, fontsize=7)
    axes.set(xlim=(0, 1), xlabel="share of the variance at equal latent size")
    axes.xaxis.set_major_formatter("{x:.0%}")
    legend_below(page, axes.get_legend_handles_labels()[0], columns=3)
    return page


def _means(study: Study) -> Figure:
    means = study.means[study.means["choice"] != SIZE]
    responses = [name for name in means["response"].unique() if name in set(study.effects["response"])]
    levels = means.drop_duplicates(["choice", "level"])
    wide = min(3, len(responses))
    high = ceil(len(responses) / wide)
    page, grid = plt.subplots(
        high, wide, figsize=(WIDTH, high * (0.17 * len(levels) + 0.9) + 0.5), sharey=True, squeeze=False
    )
    for axes, response in zip(grid.flat, responses):
        _panel(axes, means[means["response"] == response])
    for axes in grid.flat[len(responses) :]:
        axes.set_visible(False)
    legend_below(page, [line(side, COLOURS[side], marker="o") for side in SIDES])
    return page


def _panel(axes: Axes, part: pd.DataFrame) -> None:
    places = np.arange(len(part))[::-1]
    for side in SIDES:
        here = (part["choice"] == side).to_numpy()
        axes.hlines(places[here], part["low"][here], part["high"][here], color=COLOURS[side], linewidth=1.5)
        axes.plot(part["difference"][here], places[here], "o", color=COLOURS[side], markersize=3.5)
    axes.axvline(0, color="black", linewidth=0.8)
    measure, unit = part[["measure", "unit"]].iloc[0]
    axes.set_title(measure)
    axes.set_xlabel(f"difference, {unit}")
    axes.set_yticks(places, part["level"].astype(str), fontsize=7)
    axes.grid(axis="y", linewidth=0.3)
