"""Shared by all figures: their tables, their registry, their style, and writing them.

A figure is a list of pages as wide as A4 and no higher, so that text keeps its size on paper and on screen. `save`
writes them as a PDF of pages, and as one PNG with the pages below each other.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import wraps
from math import ceil
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.colors import to_hex
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import AutoLocator, LogLocator, NullFormatter
from matplotlib.typing import LineStyleType
from PIL import Image

from vae import catalogue
from vae.analysis import rate_distortion, table
from vae.analysis.ranking import is_collapsed
from vae.analysis.rate_distortion import Curve
from vae.data import dataset as data
from vae.files import read_json, read_npz, replacing
from vae.grid import Spec, folder
from vae.registry import Registry

# Columns that figures need of the tables beside that of models.
LABELS = {"label", "rank", "reconstruction", "kld", "collapsed"}
COUNTS = {"by", "value", "top", "expected", "p"}
EFFECTS = {"response", "measure", "term", "share", "seeds"}
MEANS = {"response", "measure", "unit", "choice", "level", "difference", "low", "high"}

SWAP = {"encoder", "decoder", "trained_with", "loss"}

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
    """The data of figures: the tables of a study, the folder of its models, its test set.

    `rows` is the table of models, `labels` that of architectures; `curves` are those of `vae.analysis.rate_distortion`,
    none where the study does not sweep the weight of the KLD; `spectrum` is that of the training images, as
    `vae.measures.linear_vae` has it; `swap` is the table of the encoder swap.
    """

    rows: pd.DataFrame
    labels: pd.DataFrame
    counts: pd.DataFrame
    effects: pd.DataFrame
    means: pd.DataFrame
    curves: dict[tuple[int, str, str], Curve]
    swap: pd.DataFrame
    models: Path
    spectrum: np.ndarray
    test_labels: np.ndarray | None
    class_name: Callable[[int], str]
    test_images: np.ndarray

    @classmethod
    def read(cls, results: Path, dataset: Path) -> "Study":
        """The study of a results folder, with its dataset.npz; UserError where a file is missing or unsound."""
        images, tables = data.load(dataset), results / "tables"
        rows = table.read(tables / "models.csv")
        return cls(
            rows=table.base(rows),
            labels=table.read(tables / "architectures.csv", LABELS),
            counts=table.read(tables / "counts.csv", COUNTS),
            effects=table.read(tables / "effects.csv", EFFECTS),
            means=table.read(tables / "means.csv", MEANS),
            curves=rate_distortion.curves(rows),
            swap=table.read(tables / "swap.csv", SWAP),
            models=results / "models",
            spectrum=np.array(read_json(results / "baselines/pixels.json")["spectra"][""]),
            test_labels=images.test_labels,
            class_name=images.class_name,
            test_images=images.test_images,
        )

    def arrays(self, label: str, name: str, *needed: str) -> dict[str, np.ndarray]:
        """These arrays, in an .npz of the first seed of `label` that did not diverge."""
        return read_npz(self.folder(label) / name, *needed)

    def folder(self, label: str) -> Path:
        """The folder of the first seed of `label` that did not diverge."""
        rows = self.rows[(self.rows["label"] == label) & (self.rows["status"] == "ok")]
        return folder(self.models, Spec.parse(label), rows["seed"].min())


FIGURES: Registry[Callable[[Study], list[Figure]]] = Registry("figure")


def figure(draw: Callable[[Study], list[Figure]]) -> Callable[[Study], list[Figure]]:
    """Register a function as the figure of the catalogue that bears its name; it says so where every model diverged."""

    @wraps(draw)
    def draw_if_any(study: Study) -> list[Figure]:
        diverged = study.labels["reconstruction"].isna()
        if diverged.all():
            return [nothing_to_draw(f"{draw.__name__}: every model diverged, there is nothing to draw")]
        pages = draw(study)
        for page in pages if diverged.any() else []:
            left_out = f"{diverged.sum()} of {len(diverged)} architectures\ndiverged and are left out"
            page.text(0.005, 0.002, left_out, va="bottom", fontsize="small", color="0.4")
        return pages

    return FIGURES.add(catalogue.FIGURES[draw.__name__].name, draw_if_any)


def nothing_to_draw(why: str) -> Figure:
    """A page that says why it is empty."""
    page = plt.figure(figsize=(WIDTH, 1))
    page.text(0.5, 0.5, why, ha="center", va="center")
    return page


def save(pages: list[Figure], png: Path, pdf: Path) -> None:
    """Write the pages as a PDF and, below each other, as one PNG."""
    images = []
    for page in pages:
        page.set_dpi(plt.rcParams["savefig.dpi"])
        canvas = FigureCanvasAgg(page)
        canvas.draw()
        images.append(np.asarray(canvas.buffer_rgba())[..., :3])
        page.set_layout_engine("none")  # the PDF has the same; to find it takes as long as to draw
    with replacing(pdf) as partial, PdfPages(partial, metadata={"CreationDate": None}) as book:
        for page in pages:
            book.savefig(page)
            plt.close(page)
    with replacing(png) as partial:
        Image.fromarray(np.concatenate(images)).save(partial, optimize=True)


def legend_below(page: Figure | SubFigure, handles: Sequence[Artist], columns: int = 5) -> None:
    """A legend of these handles below all axes, of at most so many columns, or of as many as the page has room for."""
    for rows in range(ceil(len(handles) / columns), len(handles) + 1):
        legend = page.legend(handles=handles, loc="outside lower center", ncols=ceil(len(handles) / rows))
        if rows == len(handles) or legend.get_window_extent().width <= page.bbox.width:
            break
        legend.remove()


def ranking_pages(
    labels: pd.DataFrame, title: str, columns: int = COLUMNS
) -> Iterable[tuple[Figure, list[tuple[Axes, pd.DataFrame]]]]:
    """Pages of `columns` columns of at most `ROWS` labels each; yields each page with its axes and their labels."""
    labels = labels.assign(rank=np.arange(1, len(labels) + 1))
    rows = min(ROWS, ceil(len(labels) / columns))
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


def panels(
    rows: pd.DataFrame, draw: Callable[[Axes, pd.Series], None], title: str, xlabel: str, ylabel: str
) -> list[Figure]:
    """Pages of small panels, one per row of the table, with the axes named below and beside the outer ones."""
    high, wide = PANELS
    pages = []
    for start in range(0, len(rows), high * wide):
        part = rows.iloc[start : start + high * wide]
        lines = ceil(len(part) / wide)
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


def points(axes: Axes, part: pd.DataFrame, loss: str) -> None:
    """A point per label, with the colour and shape of collapsed ones or not; a line from its lowest to highest seed."""
    if loss == "kld":
        part = part.assign(**part[["kld", "kld_low", "kld_high"]].clip(lower=SMALLEST_KLD))
    for collapsed, colour, marker in ((False, BLUE, "o"), (True, ORANGE, "s")):
        rows = part[is_collapsed(part["collapsed"]) == collapsed]
        axes.hlines(rows["rank"], rows[f"{loss}_low"], rows[f"{loss}_high"], color=colour, linewidth=1)
        axes.plot(rows[loss], rows["rank"], marker, color=colour, markersize=4)


def markers() -> list[Line2D]:
    return [line("not collapsed", BLUE, marker="o"), line("collapsed", ORANGE, marker="s")]


def class_colours(count: int) -> list[str]:
    """A colour for each of `count` classes: colours that are told apart, and from eleven classes on a scale."""
    if count <= len(CLASS_COLOURS):
        return CLASS_COLOURS[:count]
    return [to_hex(colour) for colour in plt.get_cmap("viridis")(np.linspace(0, 1, count))]


def line(label: str, color: str = GREY, linestyle: LineStyleType = "", marker: str = "") -> Line2D:
    return Line2D([], [], color=color, linestyle=linestyle, marker=marker, markersize=5, label=label)


def plain_numbers(axis: Axis) -> None:
    """Numbers as they are on a logarithmic axis: 1, 2, 5, 10 and so on, or the powers of ten of a long one."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def whole_numbers(axis: Axis) -> None:
    """Ticks at whole numbers alone."""
    locator = AutoLocator()
    locator.set_params(integer=True)
    axis.set_major_locator(locator)


def log_limits(values: pd.Series, *marks: float) -> tuple[float, float]:
    """Limits of a logarithmic axis."""
    both = np.clip([values.min(), values.max(), *marks], SMALLEST_KLD, None)
    return both.min() / 2, both.max() * 2


def rotation(part: pd.DataFrame) -> int:
    return 0 if len(part) <= 6 else 90
