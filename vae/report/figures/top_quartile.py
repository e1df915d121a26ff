"""The architectures in the top quartile."""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from vae.analysis import ranking
from vae.grid import Network
from vae.report.figures.drawing import BLUE, ORANGE, WIDTH, Study, figure, legend_below, line, rotation, whole_numbers


@figure
def top_quartile_counts(study: Study) -> list[Figure]:
    """How often each latent size, encoder and decoder is in the top quartile."""
    counts = study.counts
    page, row = plt.subplots(1, 3, figsize=(WIDTH, 3), sharey=True)
    for axes, by in zip(row, ("latent_size", "encoder", "decoder"), strict=True):
        part = counts[counts["by"] == by]
        positions = np.arange(len(part))
        bars = axes.bar(positions, part["top"], color=BLUE, width=0.7)
        axes.hlines(part["expected"], positions - 0.42, positions + 0.42, color=ORANGE, linewidth=2)
        counted = [f"{top}{'*' if p < ranking.LEVEL else ''}" for top, p in zip(part["top"], part["p"], strict=True)]
        axes.bar_label(bars, counted, padding=2, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})
        axes.set_xticks(positions, part["value"].astype(str), rotation=rotation(part))
        axes.set_xlabel(by.replace("_", " "))
    row[0].set_ylabel("models in the top quartile")
    whole_numbers(row[0].yaxis)
    legend_below(page, [line("expected by chance (* p < 0.05, exact and corrected)", ORANGE, linestyle="-")])
    size = len(ranking.top(study.labels))
    ranked = study.labels["reconstruction"].notna().sum()
    page.suptitle(f"Top quartile by reconstruction: {size} of {ranked} architectures")
    return [page]


@figure
def top_quartile_counts_by_latent_size(study: Study) -> list[Figure]:
    """The same counts by architecture and latent size, encoders above, decoders below."""
    best = ranking.top(study.labels)
    page, rows = plt.subplots(2, 1, figsize=(WIDTH, 6), sharey=True)
    latents = sorted(study.labels["latent_size"].unique())
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(latents)))
    width = 0.8 / len(latents)
    for axes, side in zip(rows, ("encoder", "decoder"), strict=True):
        networks = sorted(study.labels[side].unique(), key=Network.parse)
        for i, (latent, colour) in enumerate(zip(latents, colours, strict=True)):
            counts = best[best["latent_size"] == latent][side].value_counts().reindex(networks, fill_value=0)
            positions = np.arange(len(networks)) + (i - (len(latents) - 1) / 2) * width
            bars = axes.bar(
                positions,
                counts,
                width * 0.9,
                color=colour,
                label=f"latent size {latent}",
            )
            axes.bar_label(bars, fontsize=7)
        axes.set_xticks(np.arange(len(networks)), networks)
        axes.set_xlabel(side)
        axes.set_ylabel("models in the top quartile")
        whole_numbers(axes.yaxis)
    handles, _ = rows[0].get_legend_handles_labels()
    legend_below(page, handles, columns=min(len(latents), 6))
    page.suptitle("Top quartile by reconstruction: architecture and latent size")
    return [page]
