"""The loss in parts: misfit of the decoder, approximation gap, amortisation gap."""

from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from vae.analysis import effects
from vae.analysis.blocks import estimate
from vae.analysis.certificate import FLAGGED
from vae.grid import Network
from vae.report.figures.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    WIDTH,
    Study,
    figure,
    legend_below,
    line,
    nothing_to_draw,
)
from vae.report.figures.rate_distortion import STYLES

# The parts of a loss from below: columns of the table of models, and what they are called.
PARTS = {
    "misfit": ("misfit of the decoder", GREY),
    "approximation_gap": ("approximation gap of diagonal Gaussians", GREEN),
    "train_amortisation_gap": ("amortisation gap on training images", ORANGE),
    "generalisation_gap": ("generalisation gap: what test images add", "#F7E0AE"),
}


@figure
def loss_decomposition(study: Study) -> list[Figure]:
    """The parts of every model's loss; the encoder swap, and curves of rate and distortion, where there are any."""
    rows = study.rows[study.rows["status"] == "ok"]
    if "amortisation_gap" not in rows or rows["amortisation_gap"].isna().all():
        return [nothing_to_draw("loss_decomposition: no gap was measured, there is nothing to draw")]
    sizes = sorted(rows["latent_size"].unique())
    pages = [_losses(rows[rows["latent_size"] == size], study) for size in sizes]
    if len(study.swap):
        pages.append(_swap(study.swap))
    if study.curves:
        pages.append(_curves(study))
    return pages


def by_complexity(names: pd.Series) -> list[str]:
    """Networks from simple to deep, of any family."""
    parsed = sorted(map(Network.parse, names.unique()), key=lambda network: (network.depth, network.family))
    return list(map(str, parsed))


def parts(rows: pd.DataFrame) -> pd.DataFrame:
    """A model's loss in parts, `PARTS` in nats per image, above what no model comes below, or above the best log p(x).

    Where the truth is known, the misfit is what the decoder's log p(x) lacks of it; where it is not, what it lacks of
    that of the best decoder of the table, on the same images.
    """
    if not _true(rows):
        rows = rows.assign(misfit=rows["log_evidence"].max() - rows["log_evidence"])
    return rows.assign(loss=rows["misfit"] + rows["approximation_gap"] + rows["amortisation_gap"])


def _true(rows: pd.DataFrame) -> bool:
    """Whether the true log p(x) of these models' images is known, and they are comparable with it."""
    return "misfit" in rows and bool(rows["misfit"].notna().all())


def _losses(rows: pd.DataFrame, study: Study) -> Figure:
    known, rows = _true(rows), parts(rows)
    encoders, decoders = by_complexity(rows["encoder"]), by_complexity(rows["decoder"])
    page, axes = plt.subplots(figsize=(WIDTH, 4.6))
    width = 0.8 / len(decoders)
    for place, encoder in enumerate(encoders):
        for offset, decoder in enumerate(decoders):
            models = rows[(rows["encoder"] == encoder) & (rows["decoder"] == decoder)]
            if len(models):
                _bar(axes, place + (offset - (len(decoders) - 1) / 2) * width, 0.92 * width, models)
    ticks = [
        (place + (offset - (len(decoders) - 1) / 2) * width, decoder)
        for place in range(len(encoders))
        for offset, decoder in enumerate(decoders)
    ]
    axes.set_xticks(*map(list, zip(*ticks, strict=True)), fontsize=7, minor=True)
    axes.set_xticks(range(len(encoders)), [f"\n{name}" for name in encoders])
    axes.tick_params(which="both", length=0)
    axes.set_xlabel("decoder, and below it the encoder")
    above = "the entropy of the images" if known else "the best log p(x) of a decoder here"
    axes.set_ylabel(f"−ELBO above {above}\n(nats per image)")
    axes.axhline(0, color="black", linewidth=0.8)
    handles = [Patch(color=colour, label=name) for name, colour in list(PARTS.values())[::-1]]
    handles.append(
        Patch(
            facecolor="white",
            edgecolor="black",
            hatch="///",
            label=f"stopped more than {FLAGGED} nats above the optimum",
        )
    )
    legend_below(page, handles, columns=2)
    size = int(rows["latent_size"].iloc[0])
    page.suptitle(f"−ELBO in parts, by encoder and decoder (latent size {size})\n{_sentence(study)}", fontsize=9)
    return page


def _bar(axes: Axes, place: float, width: float, models: pd.DataFrame) -> None:
    """One stacked bar: means over seeds, with the interval of their sum between seeds."""
    bottom, hatch = 0.0, "///" if (models["slack"] > FLAGGED).any() else ""
    means = {name: float(models[name].mean()) for name in PARTS}
    # Where test images are inferred better than training images, nothing is added by them.
    means["train_amortisation_gap"] += min(means["generalisation_gap"], 0)
    means["generalisation_gap"] = max(means["generalisation_gap"], 0)
    for name, (_, colour) in PARTS.items():
        axes.bar(place, means[name], width, bottom, color=colour, hatch=hatch, edgecolor="white", linewidth=0.4)
        bottom += means[name]
    total = estimate(models["loss"].to_numpy(float)[None])
    if total.seeds > 1:
        low, high = total.interval
        axes.vlines(place, low, high, color="black", linewidth=1)


def _sentence(study: Study) -> str:
    """How much of the variance of the ELBO each choice explains, in a sentence."""
    of = effects.at_equal_size(study.effects, "negative_elbo")
    if not {"encoder", "decoder"} <= set(of):
        return ""
    rest = 1 - of["encoder"] - of["decoder"]
    return (
        f"At equal latent size the decoder explains {of['decoder']:.0%} of the variance of the ELBO, the encoder"
        f" {of['encoder']:.0%}, their interactions and the seed {rest:.0%}."
    )


def _swap(swap: pd.DataFrame) -> Figure:
    """A heat map for each decoder: encoders that infer, by encoders that trained the decoder."""
    decoders, encoders = by_complexity(swap["decoder"]), by_complexity(swap["encoder"])
    donors = by_complexity(swap["trained_with"])
    page, grid = plt.subplots(1, len(decoders), figsize=(WIDTH, 3.4), squeeze=False)
    for axes, decoder in zip(grid[0], decoders):
        losses = swap[swap["decoder"] == decoder].pivot_table(index="encoder", columns="trained_with", values="loss")
        losses = losses.reindex(index=encoders, columns=donors)
        above = (losses - losses.min(axis=None)).to_numpy()
        axes.imshow(above, cmap="Blues", aspect="auto")
        for (row, column), value in np.ndenumerate(above):
            shade = "white" if value > 0.6 * np.nanmax(above) else "black"
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=shade, fontsize=7)
        axes.set_xticks(range(len(donors)), donors, fontsize=7)
        axes.set_yticks(range(len(encoders)), encoders, fontsize=7)
        axes.set(xlabel="encoder that trained the decoder", ylabel="encoder that infers", title=f"decoder {decoder}")
        axes.spines[:].set_visible(False)
    page.suptitle("Encoder swap: loss above the lowest (nats), of encoders that are refitted to frozen decoders")
    return page


def _curves(study: Study) -> Figure:
    """Curves of the simplest and the deepest encoders, with the floor that no model comes below, where it is known."""
    size = max(size for size, *_ in study.curves)
    here = {key: curve for key, curve in study.curves.items() if key[0] == size}
    encoders = by_complexity(pd.Series([encoder for _, encoder, _ in here]))
    decoders = by_complexity(pd.Series([decoder for *_, decoder in here]))
    shown = dict.fromkeys([encoders[0], encoders[-1]])
    page, axes = plt.subplots(figsize=(WIDTH, 4))
    colours, styles = dict(zip(decoders, cycle((BLUE, ORANGE, GREEN, GREY)))), dict(zip(shown, cycle(STYLES)))
    for (_, encoder, decoder), curve in here.items():
        if encoder in shown:
            rates = np.linspace(curve.rates[0], curve.rates[-1], 100)
            axes.plot(rates, curve(rates), linestyle=styles[encoder], color=colours[decoder])
            axes.plot(curve.rates, curve.distortions, "o", color=colours[decoder], markersize=3)
    handles = [line(f"decoder {name}", colours[name], "-") for name in decoders]
    handles += [line(f"encoder {name}", "black", styles[name]) for name in shown]
    if "entropy" in study.rows:
        rates = np.linspace(0, max(curve.rates[-1] for curve in here.values()), 2)
        axes.plot(rates, study.rows["entropy"].iloc[0] - rates, color=GREY, linewidth=2)
        handles.append(line("floor: entropy − rate", GREY, "-"))
    axes.set(xlabel="rate: KLD (nats per image)", ylabel="distortion: reconstruction (nats per image)")
    legend_below(page, handles, columns=3)
    page.suptitle(f"Distortion over rate, for the simplest and the deepest encoder (latent size {size})")
    return page
