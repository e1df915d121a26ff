"""Posterior collapse, beside what the theory of linear VAEs says."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator, SymmetricalLogLocator

from vae.analysis import ranking
from vae.files import read_json
from vae.grid import Spec, folder
from vae.measures import linear_vae
from vae.report.figures.drawing import (
    BLUE,
    GREEN,
    KLD,
    ORANGE,
    WIDTH,
    Study,
    figure,
    legend_below,
    line,
    plain_numbers,
)
from vae.seeds import of_study


@figure
def collapse_atlas(study: Study) -> list[Figure]:
    """Posterior collapse by architecture and latent size, beside the prediction of the theory of linear VAEs."""
    rows = study.rows[study.rows["status"] == "ok"].sort_values(["encoder", "decoder"], key=ranking.network_order)
    every = sorted(rows["latent_size"].unique())
    # No more maps than can be read beside each other: the smallest, the largest, and some between.
    sizes = [every[i] for i in np.unique(np.linspace(0, len(every) - 1, min(len(every), 5)).round().astype(int))]
    page = plt.figure(figsize=(WIDTH, 8.4))
    maps, lines, dimensions = page.subfigures(3, 1, squeeze=False, height_ratios=[2.9, 2.6, 2.6])[:, 0]
    _collapse_maps(maps, rows, sizes)
    _collapse_lines(lines, rows, every)
    _kld_per_dimension(dimensions, study, rows, sizes)
    predicted = int((rows["linear_kld"] < rows["collapsed_below"]).sum())
    collapsed = int(rows["collapsed"].sum())
    page.suptitle(f"{collapsed} of {len(rows)} models collapsed; the theory of linear VAEs predicts {predicted}")
    return [page]


def _collapse_maps(page: SubFigure, rows: pd.DataFrame, sizes: list[int]) -> None:
    """A map of encoders and decoders per latent size: the share of seeds that collapsed, and the mean KLD."""
    networks = {side: list(rows[side].unique()) for side in ("encoder", "decoder")}
    panels = page.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    for axes, size in zip(panels, sizes, strict=True):
        here = rows[rows["latent_size"] == size].astype({"collapsed": float})
        share, kld = (
            here.pivot_table(values=name, index="encoder", columns="decoder")
            .reindex(index=networks["encoder"], columns=networks["decoder"])
            .to_numpy()
            for name in ("collapsed", "kld")
        )
        image = axes.imshow(share, cmap="Oranges", vmin=0, vmax=1.4, aspect="auto")  # no darker than text can be read
        for (row, column), value in np.ndenumerate(kld):
            if np.isfinite(value) and kld.size <= 64:
                axes.text(column, row, f"{value:.{value < 9.95:d}f}", ha="center", va="center", fontsize=6.5)
        axes.set_xticks(range(kld.shape[1]), networks["decoder"], rotation=90)
        axes.set_yticks(range(kld.shape[0]), networks["encoder"])
        axes.set(title=f"latent size {size}\neffective beta {here['effective_beta'].iloc[0]:.3g}", xlabel="decoder")
        axes.spines[:].set_visible(False)
    panels[0].set_ylabel("encoder\n(in each cell: mean KLD in nats)")
    bar = page.colorbar(
        image, ax=panels, label="share of seeds collapsed", fraction=0.04, boundaries=np.linspace(0, 1, 101)
    )
    bar.set_ticks([0, 0.5, 1])


def _collapse_lines(page: SubFigure, rows: pd.DataFrame, sizes: list[int]) -> None:
    """Share collapsed beside the effective beta, and KLD and active units beside the theory, over the latent size."""
    share, kld, active = page.subplots(1, 3)
    _share_collapsed(share, rows, sizes)
    rng = np.random.default_rng(of_study("jitter"))
    places = rows["latent_size"].map(sizes.index) + rng.uniform(-0.25, 0.25, len(rows))
    _beside_theory(kld, rows, places, "kld", 1e-3)
    kld.set(yscale="log", ylabel=KLD)
    plain_numbers(kld.yaxis)
    _beside_theory(active, rows, places, "active_units", 0)
    most = rows[["active_units", "linear_active_units"]].to_numpy(float).max()
    active.set_yscale("symlog", linthresh=1)
    active.set(ylabel="active units", ylim=(-0.2, max(2, 1.2 * most)))
    active.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1, subs=(1, 2, 5)))
    active.yaxis.set_major_formatter("{x:g}")
    for axes in (share, kld, active):
        axes.set_xticks(np.arange(len(sizes)), sizes, rotation=0 if len(sizes) <= 6 else 90)
        axes.set_xlabel("latent size")
    handles = [
        line("share collapsed", ORANGE, linestyle="-", marker="s"),
        line("effective beta", GREEN, linestyle="--"),
        line("a model", BLUE, marker="o"),
        line("a collapsed model", ORANGE, marker="o"),
        Line2D([], [], color="black", linewidth=2, label="theory of linear VAEs"),
    ]
    legend_below(page, handles)


def _share_collapsed(axes: Axes, rows: pd.DataFrame, sizes: list[int]) -> None:
    """The share of models that collapsed, and on a second axis the effective beta, of each latent size."""
    ticks, by_size = np.arange(len(sizes)), rows.groupby("latent_size")
    axes.plot(ticks, by_size["collapsed"].mean(), "s-", color=ORANGE)
    axes.set(ylim=(-0.04, 1.04), ylabel="share of models collapsed")
    beta, values = axes.twinx(), by_size["effective_beta"].first()
    beta.plot(ticks, values, "--", color=GREEN)
    beta.set_yscale("log")
    beta.set_ylabel("effective beta", color=GREEN)
    beta.tick_params(axis="y", which="both", colors=GREEN)
    beta.spines["right"].set_visible(True)
    marked = sorted(set(values))
    beta.set_yticks(marked, [f"{value:.3g}" for value in marked])
    beta.yaxis.set_minor_locator(NullLocator())


def _beside_theory(axes: Axes, rows: pd.DataFrame, places: pd.Series, name: str, floor: float) -> None:
    """A measure of every model at its place, no lower than `floor`, and that of a linear VAE for each latent size."""
    for collapsed, colour in ((False, BLUE), (True, ORANGE)):
        here = rows["collapsed"] == collapsed
        axes.plot(places[here], rows.loc[here, name].clip(lower=floor), ".", color=colour, markersize=4, alpha=0.6)
    theory = rows.groupby("latent_size")[f"linear_{name}"].first().clip(lower=floor)
    ticks = np.arange(len(theory))
    axes.hlines(theory, ticks - 0.35, ticks + 0.35, color="black", linewidth=2)


def _kld_per_dimension(page: SubFigure, study: Study, rows: pd.DataFrame, sizes: list[int]) -> None:
    """KLD of every latent dimension, sorted, a line per model, with that of a linear VAE over it."""
    panels = page.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    for axes, size in zip(panels, sizes, strict=True):
        here = rows[rows["latent_size"] == size]
        for label, seed, collapsed in zip(here["label"], here["seed"], here["collapsed"], strict=True):
            measured = read_json(folder(study.models, Spec.parse(label), seed) / "metrics.json")
            values = np.sort(measured["kld_per_dimension"])[::-1].clip(1e-3)
            axes.plot(np.arange(1, size + 1), values, color=ORANGE if collapsed else BLUE, linewidth=0.6, alpha=0.5)
        theory = linear_vae.kld_per_dimension(study.spectrum, here["effective_beta"].iloc[0], size)
        axes.plot(np.arange(1, size + 1), theory.clip(1e-3), color="black", linewidth=2)
        axes.set(xscale="log", yscale="log", title=f"latent size {size}", xlabel="latent dimension, by its KLD")
        plain_numbers(axes.xaxis)
    # Not before all is drawn, or the first panel would decide for the others.
    panels[0].set_ylim(bottom=8e-4)
    plain_numbers(panels[0].yaxis)
    panels[0].set_ylabel("KLD of a dimension (nats)")
