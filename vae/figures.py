"""Every figure of the study, drawn from its tables.

A figure is a list of pages as wide as A4 and no higher, so that text keeps its size on paper and on screen. `save`
writes them as a PDF of pages, and as one PNG with the pages below each other.
"""

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, SymmetricalLogLocator
from PIL import Image

from vae import data, effects, linear, ranking
from vae.files import read_json, read_npz, replacing
from vae.grid import Network, Spec, folder

WIDTH, HEIGHT = 8.27, 11.69
ROWS = 50  # labels in a column of a ranking
COLUMNS = 2
PANELS = (5, 5)  # rows and columns of small panels on a page

# Okabe & Ito's colours, told apart under the common colour blindnesses.
BLUE, ORANGE, GREY, GREEN = "#0072B2", "#E69F00", "#666666", "#009E73"
# Petroff's ten colours (2021), likewise, for classes.
CLASS_COLOURS = plt.style.library["petroff10"]["axes.prop_cycle"].by_key()["color"]
RECONSTRUCTION = "reconstruction (nats per image)"
KLD = "KLD (nats per image)"
SMALLEST_KLD = 1e-6  # what is smaller is zero but for rounding, and drawn here

plt.rcParams.update(
    {
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.constrained_layout.use": True,
        "figure.titlesize": 11,
        "legend.frameon": False,
        "savefig.dpi": 150,
        "pdf.fonttype": 42,
    }
)


@dataclass(frozen=True)
class Study:
    """What figures are drawn from: the table of models, the labels ranked by it, the models' folder, the test set.

    `spectrum` is that of `vae.linear` of the training images.
    """

    rows: pd.DataFrame
    labels: pd.DataFrame
    models: Path
    spectrum: np.ndarray
    test_labels: np.ndarray | None
    test_images: np.ndarray

    def arrays(self, label: str, name: str, *needed: str) -> dict[str, np.ndarray]:
        """These arrays, in an .npz of the first seed of `label` that did not diverge."""
        return read_npz(self.folder(label) / name, *needed)

    def folder(self, label: str) -> Path:
        """The folder of the first seed of `label` that did not diverge."""
        rows = self.rows[(self.rows["label"] == label) & (self.rows["status"] == "ok")]
        return folder(self.models, Spec.parse(label), rows["seed"].min())


FIGURES: dict[str, Callable[[Study], list[Figure]]] = {}


def figure(draw: Callable[[Study], list[Figure]]) -> Callable[[Study], list[Figure]]:
    """Register a function as the figure that bears its name; where every model diverged, the figure says so."""

    @wraps(draw)
    def draw_if_any(study: Study) -> list[Figure]:
        diverged = study.labels["reconstruction"].isna()
        if diverged.all():
            return [_nothing(f"{draw.__name__}: every model diverged, there is nothing to draw")]
        pages = draw(study)
        for page in pages if diverged.any() else []:
            left_out = f"{diverged.sum()} of {len(diverged)} architectures\ndiverged and are left out"
            page.text(0.005, 0.002, left_out, va="bottom", fontsize="small", color="0.4")
        return pages

    FIGURES[draw.__name__] = draw_if_any
    return draw_if_any


def _nothing(why: str) -> Figure:
    page = plt.figure(figsize=(WIDTH, 1))
    page.text(0.5, 0.5, why, ha="center", va="center")
    return page


def save(pages: list[Figure], png: Path, pdf: Path) -> None:
    """Write the pages as a PDF and, below each other, as one PNG."""
    with replacing(pdf) as partial, PdfPages(partial, metadata={"CreationDate": None}) as book:
        for page in pages:
            book.savefig(page)
    images = []
    for page in pages:
        buffer = io.BytesIO()
        page.savefig(buffer, format="png")
        images.append(np.asarray(Image.open(buffer).convert("RGB")))
        plt.close(page)
    with replacing(png) as partial:
        Image.fromarray(np.concatenate(images)).save(partial, optimize=True)


@figure
def collapse_atlas(study: Study) -> list[Figure]:
    """Who collapses: by architecture and latent size, beside what the theory of linear VAEs says."""
    rows = study.rows[study.rows["status"] == "ok"].sort_values(["encoder", "decoder"], key=ranking.network_order)
    every = sorted(rows["latent_size"].unique())
    # No more maps than can be read beside each other: the smallest, the largest, and some between.
    sizes = [every[i] for i in np.unique(np.linspace(0, len(every) - 1, min(len(every), 5)).round().astype(int))]
    page = plt.figure(figsize=(WIDTH, 8.4))
    maps, lines, dimensions = page.subfigures(3, 1, height_ratios=[2.9, 2.6, 2.6])
    _collapse_maps(maps, rows, sizes)
    _collapse_lines(lines, rows, every)
    _kld_per_dimension(dimensions, study, rows, sizes)
    page.suptitle("Who collapses, and what the theory of linear VAEs says of it")
    return [page]


def _collapse_maps(page: Figure, rows: pd.DataFrame, sizes: list[int]) -> None:
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


def _collapse_lines(page: Figure, rows: pd.DataFrame, sizes: list[int]) -> None:
    """Share collapsed beside the effective beta, and KLD and active units beside the theory, over the latent size."""
    share, kld, active = page.subplots(1, 3)
    ticks, by_size = np.arange(len(sizes)), rows.groupby("latent_size")
    share.plot(ticks, by_size["collapsed"].mean(), "s-", color=ORANGE)
    share.set(ylim=(-0.04, 1.04), ylabel="share of models collapsed")
    beta = share.twinx()
    beta.plot(ticks, by_size["effective_beta"].first(), "--", color=GREEN)
    beta.set_yscale("log")
    beta.set_ylabel("effective beta", color=GREEN)
    beta.tick_params(axis="y", which="both", colors=GREEN)
    beta.spines["right"].set_visible(True)
    rng = np.random.default_rng(0)
    places = rows["latent_size"].map(sizes.index) + rng.uniform(-0.25, 0.25, len(rows))
    for axes, name, floor in ((kld, "kld", 1e-3), (active, "active_units", 0)):
        for collapsed, colour in ((False, BLUE), (True, ORANGE)):
            here = rows["collapsed"] == collapsed
            axes.plot(places[here], rows.loc[here, name].clip(lower=floor), ".", color=colour, markersize=4, alpha=0.6)
        theory = by_size[f"linear_{name}"].first().clip(lower=floor)
        axes.hlines(theory, ticks - 0.35, ticks + 0.35, color="black", linewidth=2)
    kld.set(yscale="log", ylabel=KLD)
    active.set_yscale("symlog", linthresh=1)
    active.set(
        ylabel="active units", ylim=(-0.2, max(2, 1.2 * rows[["active_units", "linear_active_units"]].max(axis=None)))
    )
    _plain(kld.yaxis)
    active.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1, subs=(1, 2, 5)))
    active.yaxis.set_major_formatter("{x:g}")
    values = sorted(set(by_size["effective_beta"].first()))
    beta.set_yticks(values, [f"{value:.3g}" for value in values])
    beta.yaxis.set_minor_locator(NullLocator())
    for axes in (share, kld, active):
        axes.set_xticks(ticks, sizes, rotation=0 if len(sizes) <= 6 else 90)
        axes.set_xlabel("latent size")
    handles = [
        _line("share collapsed", ORANGE, linestyle="-", marker="s"),
        _line("effective beta", GREEN, linestyle="--"),
        _line("a model", BLUE, marker="o"),
        _line("a collapsed model", ORANGE, marker="o"),
        Line2D([], [], color="black", linewidth=2, label="theory of a linear VAE"),
    ]
    page.legend(handles=handles, **_BELOW)


def _kld_per_dimension(page: Figure, study: Study, rows: pd.DataFrame, sizes: list[int]) -> None:
    """KLD of every latent dimension, sorted, a line per model, with that of a linear VAE over it."""
    panels = page.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    for axes, size in zip(panels, sizes, strict=True):
        here = rows[rows["latent_size"] == size]
        for row in here.itertuples():
            measured = read_json(folder(study.models, Spec.parse(row.label), row.seed) / "metrics.json")
            values = np.sort(measured["kld_per_dimension"])[::-1].clip(1e-3)
            axes.plot(np.arange(1, size + 1), values, color=ORANGE if row.collapsed else BLUE, linewidth=0.6, alpha=0.5)
        theory = linear.kld_per_dimension(study.spectrum, here["effective_beta"].iloc[0], size)
        axes.plot(np.arange(1, size + 1), theory.clip(1e-3), color="black", linewidth=2)
        axes.set(xscale="log", yscale="log", title=f"latent size {size}", xlabel="latent dimension, by its KLD")
        _plain(axes.xaxis)
    # Not before all is drawn, or the first panel would decide for the others.
    panels[0].set_ylim(bottom=8e-4)
    _plain(panels[0].yaxis)
    panels[0].set_ylabel("KLD of a dimension (nats),\nbelow 0.001 drawn there")


@figure
def effect_sizes(study: Study) -> list[Figure]:
    """How far each choice of an architecture moves each measure, by a linear model."""
    found = effects.fit(study.rows)
    responses = list(found["response"].unique())
    if not responses:
        return [_nothing("effect_sizes: too few models for a linear model, there is nothing to draw")]
    terms = list(found["term"].drop_duplicates())[::-1]
    wide = min(3, len(responses))
    high = -(-len(responses) // wide)
    size = (WIDTH, min(HEIGHT, high * (0.16 * len(terms) + 0.8) + 0.9))
    page, grid = plt.subplots(high, wide, figsize=size, sharey=True, sharex=True, squeeze=False)
    for axes, response in zip(grid.flat, responses):
        part = found[found["response"] == response]
        rows = part["term"].map(terms.index)
        sure = part["p"] < effects.LEVEL
        for chosen, colour in ((sure, BLUE), (~sure, GREY)):
            axes.hlines(rows[chosen], part.loc[chosen, "low"], part.loc[chosen, "high"], color=colour, linewidth=1.5)
            axes.plot(part.loc[chosen, "effect"], rows[chosen], "o", color=colour, markersize=3.5)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_title(f"{effects.RESPONSES[response]} (R² {part['r2'].iloc[0]:.2f})")
        axes.set_yticks(range(len(terms)), terms, fontsize=7)
        axes.grid(axis="y", linewidth=0.3)
    for axes in grid.flat[len(responses) :]:
        axes.set_visible(False)
    grid[-1, wide // 2].set_xlabel("effect of one step, in standard deviations of the measure over all architectures")
    seeds = found["seeds"].iloc[0]
    sure = "with 95% intervals" if seeds > 1 else "without intervals, which one seed cannot give"
    page.suptitle(f"How far each choice moves each measure, {sure}")
    handles = [_line("p < 0.05, corrected", BLUE, marker="o"), _line("not significant", GREY, marker="o")]
    if seeds > 1:
        page.legend(handles=handles, **_BELOW)
    return [page]


@figure
def kld_ranked(study: Study) -> list[Figure]:
    """Every label, ranked by its KLD."""
    labels = study.labels.dropna(subset="kld").sort_values("kld", kind="stable")
    threshold = study.rows["collapsed_below"].iloc[0]
    pages = []
    for page, columns in _ranking_pages(labels, "Models ranked by KLD (rank 1 = smallest)"):
        for axes, part in columns:
            _points(axes, part, "kld")
            axes.set_xscale("log")
            axes.set_xlim(_log_limits(labels["kld"], threshold))
            axes.axvline(threshold, color=GREY, linestyle="--", linewidth=1)
            axes.set_xlabel(KLD)
        page.legend(handles=[*_markers(), _line(f"collapsed below {threshold:g} nats", linestyle="--")], **_BELOW)
        pages.append(page)
    return pages


@figure
def reconstruction_ranked(study: Study) -> list[Figure]:
    """Every label, ranked by its reconstruction, with its KLD on a second axis."""
    return _reconstruction(
        study, study.labels.dropna(subset="reconstruction"), "Models ranked by reconstruction (rank 1 = best)"
    )


@figure
def reconstruction_top_quartile(study: Study) -> list[Figure]:
    """The best quarter of the labels by reconstruction, with their KLD."""
    return _reconstruction(
        study, ranking.top(study.labels, 1 / 4), "Top quartile by reconstruction (rank 1 = best)", columns=1
    )


def _reconstruction(study: Study, labels: pd.DataFrame, title: str, columns: int = COLUMNS) -> list[Figure]:
    baseline = study.rows["mean_image_reconstruction"].iloc[0]
    pages = []
    for page, parts in _ranking_pages(labels, title, columns):
        for axes, part in parts:
            _points(axes, part, "reconstruction")
            axes.set_xlabel(f"● ■ {RECONSTRUCTION}")
            axes.axvline(baseline, color=GREY, linestyle="--", linewidth=1)
            low = min(labels["reconstruction_low"].min(), baseline)
            high = max(labels["reconstruction_high"].max(), baseline)
            axes.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))
            second = axes.twiny()
            second.plot(part["kld"].clip(lower=SMALLEST_KLD), part["rank"], "+", color=GREEN, markersize=5)
            second.set_xscale("log")
            second.set_xlim(_log_limits(labels["kld"]))
            second.set_xlabel(f"+ {KLD}", color=GREEN)
            second.tick_params(axis="x", colors=GREEN)
            second.spines["top"].set_visible(True)
        page.legend(
            handles=[
                *_markers(),
                _line("KLD (upper axis)", GREEN, marker="+"),
                _line(f"mean image: {baseline:.1f} nats", linestyle="--"),
            ],
            **_BELOW,
        )
        pages.append(page)
    return pages


@figure
def top_quartile_counts(study: Study) -> list[Figure]:
    """How often each latent size, encoder and decoder is in the top quartile."""
    counts = ranking.counts(study.labels, 1 / 4)
    page, row = plt.subplots(1, 3, figsize=(WIDTH, 3), sharey=True)
    for axes, by in zip(row, ("latent_size", "encoder", "decoder"), strict=True):
        part = counts[counts["by"] == by]
        positions = np.arange(len(part))
        bars = axes.bar(positions, part["top"], color=BLUE, width=0.7)
        axes.hlines(part["expected"], positions - 0.42, positions + 0.42, color=ORANGE, linewidth=2)
        counted = [f"{top}{'*' if p < 0.05 else ''}" for top, p in zip(part["top"], part["p"], strict=True)]
        axes.bar_label(bars, counted, padding=2, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})
        axes.set_xticks(positions, part["value"].astype(str), rotation=_rotation(part))
        axes.set_xlabel(by.replace("_", " "))
    row[0].set_ylabel("models in the top quartile")
    row[0].yaxis.get_major_locator().set_params(integer=True)
    page.legend(
        handles=[_line("expected by chance (* p < 0.05, exact and corrected)", ORANGE, linestyle="-")], **_BELOW
    )
    size = len(ranking.top(study.labels, 1 / 4))
    page.suptitle(f"Who is in the top quartile by reconstruction ({size} of {len(study.labels)} models)")
    return [page]


@figure
def top_quartile_counts_by_latent_size(study: Study) -> list[Figure]:
    """The same counts by architecture and latent size, encoders above, decoders below."""
    best = ranking.top(study.labels, 1 / 4)
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
                label=f"latent size {latent}" if side == "encoder" else None,
            )
            axes.bar_label(bars, fontsize=7)
        axes.set_xticks(np.arange(len(networks)), networks)
        axes.set_xlabel(side)
        axes.set_ylabel("models in the top quartile")
        axes.yaxis.get_major_locator().set_params(integer=True)
    page.legend(**_BELOW | {"ncols": min(len(latents), 6)})
    page.suptitle("Top quartile by reconstruction: architecture and latent size")
    return [page]


@figure
def pca_top_quartile(study: Study) -> list[Figure]:
    """Latent codes of the top quartile in two principal components."""
    return _pca(study, 1 / 4, "Latent codes of the top quartile")


@figure
def pca_top_half(study: Study) -> list[Figure]:
    """Latent codes of the top half in two principal components."""
    return _pca(study, 1 / 2, "Latent codes of the top half")


def _pca(study: Study, fraction: float, title: str) -> list[Figure]:
    labels = study.test_labels
    shown = data.draw(len(study.test_images), 2000)
    classes = [] if labels is None else list(np.unique(labels))
    colours = CLASS_COLOURS if len(classes) <= 10 else plt.get_cmap("viridis")(np.linspace(0, 1, len(classes)))
    by_class = "coloured by class" if classes else "the dataset has no labels to colour by"

    def draw(axes: Axes, row: pd.Series) -> None:
        projection = study.arrays(row["label"], "projection.npz", "components", "explained_variance_ratio")
        points, share = projection["components"][shown], projection["explained_variance_ratio"][:2].sum()
        colour = [GREY] if labels is None else np.array(colours)[np.searchsorted(classes, labels[shown])]
        axes.scatter(*points.T, s=1.5, c=colour, linewidths=0, rasterized=True)
        axes.set_title(f"{row['rank']}. {row['label']}\n{share:.0%} of variance", fontsize=7)
        axes.set(xticks=[], yticks=[], box_aspect=1)
        axes.spines[:].set_visible(True)

    pages = _panels(ranking.top(study.labels, fraction), draw, f"{title}, {by_class}", "component 1", "component 2")
    for page in pages:
        if classes:
            handles = [_line(str(label), colour, marker="o") for label, colour in zip(classes, colours)]
            page.legend(handles=handles[:: -(-len(handles) // 20)], **_BELOW | {"ncols": 10})
    return pages


@figure
def reconstructions(study: Study) -> list[Figure]:
    """Test images above what the best, the median and the worst models make of them."""
    return _gallery(
        study,
        "reconstructions",
        "Test images, and their reconstructions by the best, median and worst models",
        inputs=True,
    )


@figure
def prior_samples(study: Study) -> list[Figure]:
    """Decoded draws from the prior, of the best, the median and the worst models."""
    return _gallery(
        study, "samples", "Samples from the prior, by the best, median and worst models (by reconstruction)"
    )


def _gallery(study: Study, key: str, title: str, inputs: bool = False) -> list[Figure]:
    labels = study.labels.dropna(subset="reconstruction")
    middle = max(len(labels) // 2 - 1, 0)
    chosen = {"best": labels.head(3), "median": labels.iloc[middle : middle + 3], "worst": labels.tail(3)}
    rows = []
    for group, part in chosen.items():
        for _, row in part.iterrows():
            examples = study.arrays(row["label"], "examples.npz", key, "indices")
            caption = (
                f"{group}: {row['label']}\nrank {row['rank']}, {row['reconstruction']:.1f} + {row['kld']:.1f} nats"
            )
            rows.append((caption, examples[key]))
            chosen_images = study.test_images[examples["indices"]]
    if inputs:
        rows.insert(0, ("test images", chosen_images))
    page, grid = plt.subplots(len(rows), 2, figsize=(WIDTH, 0.72 * len(rows) + 0.5), width_ratios=[1.8, 6.2])
    for (left, right), (caption, images) in zip(grid, rows, strict=True):
        left.text(1, 0.5, caption, ha="right", va="center", transform=left.transAxes)
        right.imshow(_strip(images), cmap="gray_r" if images.ndim == 3 else None, vmin=0, vmax=255)
        left.set_axis_off()
        right.set_axis_off()
    page.suptitle(title)
    return [page]


def _strip(images: np.ndarray) -> np.ndarray:
    """Images `uint8 [N, H, W]` or `[N, C, H, W]` side by side, as `[H, N·W]` or `[H, N·W, 3]`."""
    if images.ndim == 4:
        images = np.moveaxis(images, 1, -1)
        if images.shape[-1] != 3:
            images = images.mean(-1, keepdims=True).repeat(3, -1).astype(np.uint8)
    return np.concatenate(list(images), axis=1)


@figure
def training_curves(study: Study) -> list[Figure]:
    """Reconstruction and KLD over the epochs, a panel per encoder and decoder, a line per latent size."""
    pairs = study.rows[["encoder", "decoder"]].drop_duplicates()
    pairs = pairs.sort_values(["encoder", "decoder"], key=ranking.network_order)
    baseline = study.rows["mean_image_reconstruction"].iloc[0]
    latents = sorted(study.rows["latent_size"].unique())
    colours = dict(zip(latents, plt.get_cmap("viridis")(np.linspace(0, 0.9, len(latents))), strict=True))
    histories = {
        (row["label"], row["seed"]): pd.read_csv(
            folder(study.models, Spec.parse(row["label"]), row["seed"]) / "history.csv"
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
                axes.set_ylim(_log_limits(values))
            else:
                # First epochs may lie far above; the mean image's loss and where every model ends are always shown.
                low, high = min(values.min(), baseline), max(ends.max(), baseline)
                axes.set_ylim(low - 0.05 * (high - low), high + (high - low))
                axes.axhline(baseline, color=GREY, linestyle="--", linewidth=0.8)
            axes.xaxis.get_major_locator().set_params(integer=True)

        handles = [_line(f"latent size {latent}", colours[latent], linestyle="-") for latent in latents]
        if loss == "reconstruction":
            handles.append(_line("mean image", linestyle="--"))
        for page in _panels(pairs, draw, "Training, by encoder → decoder", "epoch", name):
            page.legend(handles=handles, **_BELOW)
            pages.append(page)
    return pages


_BELOW = {"loc": "outside lower center", "ncols": 5}


def _ranking_pages(
    labels: pd.DataFrame, title: str, columns: int = COLUMNS
) -> Iterable[tuple[Figure, list[tuple[Axes, pd.DataFrame]]]]:
    """Pages of `columns` columns of at most `ROWS` labels each; yields each page with its axes and their labels."""
    labels = labels.assign(rank=np.arange(1, len(labels) + 1))
    rows = min(ROWS, -(-len(labels) // columns))
    for start in range(0, len(labels), rows * columns):
        parts = [labels.iloc[i : i + rows] for i in range(start, min(start + rows * columns, len(labels)), rows)]
        page, grid = plt.subplots(1, columns, figsize=(WIDTH, 0.19 * rows + 1.4), squeeze=False)
        for axes, part in zip(grid[0], parts):
            axes.set_ylim(part["rank"].iloc[0] + rows - 0.4, part["rank"].iloc[0] - 0.6)
            axes.set_yticks(
                part["rank"],
                [f"{label}  {rank}" for label, rank in zip(part["label"], part["rank"], strict=True)],
                fontsize=7,
            )
            axes.grid(axis="y", color="0.92")
            axes.set_axisbelow(True)
        for axes in grid[0, len(parts) :]:
            axes.set_visible(False)
        page.suptitle(title)
        yield page, list(zip(grid[0], parts))


def _panels(
    rows: pd.DataFrame, draw: Callable[[Axes, pd.Series], None], title: str, xlabel: str, ylabel: str
) -> list[Figure]:
    """Pages of small panels, one per row of the table, with the axes named below and beside the outer ones."""
    high, wide = PANELS
    pages = []
    for start in range(0, len(rows), high * wide):
        part = rows.iloc[start : start + high * wide]
        lines = -(-len(part) // wide)
        page, grid = plt.subplots(lines, wide, figsize=(WIDTH, 1.85 * lines + 0.9), squeeze=False)
        for axes, (_, row) in zip(grid.flat, part.iterrows()):
            draw(axes, row)
            if axes in grid[:, 0]:
                axes.set_ylabel(ylabel)
            if axes in grid.flat[max(len(part) - wide, 0) :]:
                axes.set_xlabel(xlabel)
        for axes in grid.flat[len(part) :]:
            axes.set_visible(False)
        page.suptitle(title, fontsize=10)
        pages.append(page)
    return pages


def _points(axes: Axes, part: pd.DataFrame, loss: str) -> None:
    """A point per label, with the colour and shape of collapsed ones or not; a line from its lowest to highest seed."""
    if loss == "kld":
        part = part.assign(**part[["kld", "kld_low", "kld_high"]].clip(lower=SMALLEST_KLD))
    for collapsed, colour, marker in ((False, BLUE, "o"), (True, ORANGE, "s")):
        rows = part[part["collapsed"] == collapsed]
        axes.hlines(rows["rank"], rows[f"{loss}_low"], rows[f"{loss}_high"], color=colour, linewidth=1)
        axes.plot(rows[loss], rows["rank"], marker, color=colour, markersize=4)


def _markers() -> list[Line2D]:
    return [_line("not collapsed", BLUE, marker="o"), _line("collapsed", ORANGE, marker="s")]


def _line(label: str, color: str = GREY, linestyle: str = "", marker: str = "") -> Line2D:
    return Line2D([], [], color=color, linestyle=linestyle, marker=marker, markersize=5, label=label)


def _plain(axis: Axis) -> None:
    """Numbers as they are on a logarithmic axis: 1, 2, 5, 10 and so on, or the powers of ten of a long one."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _log_limits(values: pd.Series, *others: float) -> tuple[float, float]:
    """Limits of a logarithmic axis."""
    both = np.clip([values.min(), values.max(), *others], SMALLEST_KLD, None)
    return both.min() / 2, both.max() * 2


def _rotation(part: pd.DataFrame) -> int:
    return 0 if len(part) <= 6 else 90
