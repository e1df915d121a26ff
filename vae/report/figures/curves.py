"""Losses over the training."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vae.analysis import ranking, table
from vae.grid import Spec, folder
from vae.report.figures.drawing import (
    GREY,
    KLD,
    RECONSTRUCTION,
    Study,
    figure,
    legend_below,
    line,
    log_limits,
    panels,
    whole_numbers,
)


@figure
def training_curves(study: Study) -> list[Figure]:
    """Reconstruction and KLD over the epochs, a panel per encoder and decoder, a line per latent size."""
    pairs = study.rows[["encoder", "decoder"]].drop_duplicates()
    pairs = pairs.sort_values(["encoder", "decoder"], key=ranking.network_order)
    baseline = study.rows["mean_image_reconstruction"].iloc[0]
    latents = sorted(study.rows["latent_size"].unique())
    colours = dict(zip(latents, plt.get_cmap("viridis")(np.linspace(0, 0.9, len(latents))), strict=True))
    histories = {
        (row["label"], row["seed"]): table.read(
            folder(study.models, Spec.parse(row["label"]), row["seed"]) / "history.csv", table.HISTORY
        )
        for _, row in study.rows.iterrows()
    }
    ends = pd.Series([history["reconstruction"].iloc[-1] for history in histories.values()])
    pages = []
    for loss, name in (("reconstruction", RECONSTRUCTION), ("kld", KLD)):
        values = pd.concat(histories)[loss].replace([np.inf, -np.inf], np.nan).dropna()

        def draw(axes: Axes, pair: pd.Series, loss: str = loss, values: pd.Series = values) -> None:
            rows = study.rows[(study.rows["encoder"] == pair["encoder"]) & (study.rows["decoder"] == pair["decoder"])]
            for _, row in rows.iterrows():
                history = histories[row["label"], row["seed"]]
                axes.plot(
                    history["epoch"], history[loss], ".-", color=colours[row["latent_size"]], linewidth=1, markersize=3
                )
            axes.set_title(f"{pair['encoder']} → {pair['decoder']}")
            if loss == "kld":
                axes.set_yscale("log")
                axes.set_ylim(log_limits(values))
            else:
                # First epochs may lie far above; the mean image's loss and where every model ends are always shown.
                low, high = min(values.min(), baseline), max(ends.max(), baseline)
                axes.set_ylim(low - 0.05 * (high - low), high + (high - low))
                axes.axhline(baseline, color=GREY, linestyle="--", linewidth=0.8)
            whole_numbers(axes.xaxis)

        handles = [line(f"latent size {latent}", colours[latent], linestyle="-") for latent in latents]
        if loss == "reconstruction":
            handles.append(line("mean image", linestyle="--"))
        for page in panels(pairs, draw, "Training, by encoder → decoder", "epoch", name):
            legend_below(page, handles)
            pages.append(page)
    return pages
