"""Codes in their first two principal components."""

from math import ceil

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vae import seeds
from vae.analysis import ranking
from vae.report.figures.drawing import GREY, Study, class_colours, figure, legend_below, line, panels


@figure
def pca_top_quartile(study: Study) -> list[Figure]:
    """Latent codes of the top quartile in two principal components."""
    return _pca(study, ranking.QUARTILE, "Latent codes of the top quartile")


@figure
def pca_top_half(study: Study) -> list[Figure]:
    """Latent codes of the top half in two principal components."""
    return _pca(study, 1 / 2, "Latent codes of the top half")


def _pca(study: Study, fraction: float, title: str) -> list[Figure]:
    labels = study.test_labels
    shown = seeds.draw(len(study.test_images), 2000)
    classes = [] if labels is None else list(np.unique(labels))
    colours = class_colours(len(classes))
    by_class = "coloured by class" if classes else "the dataset has no labels to colour by"

    def draw(axes: Axes, row: pd.Series) -> None:
        projection = study.arrays(row["label"], "codes.npz", "components", "explained_variance_ratio")
        points, share = projection["components"][shown], projection["explained_variance_ratio"][:2].sum()
        colour = [GREY] if labels is None else np.array(colours)[np.searchsorted(classes, labels[shown])]
        axes.scatter(points[:, 0], points[:, 1], s=1.5, c=colour, linewidths=0, rasterized=True)
        axes.set_title(f"{row['rank']}. {row['label']}\n{share:.0%} of variance", fontsize=7)
        axes.set(xticks=[], yticks=[], box_aspect=1)
        axes.spines[:].set_visible(True)

    pages = panels(ranking.top(study.labels, fraction), draw, f"{title}, {by_class}", "component 1", "component 2")
    for page in pages:
        if classes:
            handles = [line(study.class_name(label), colour, marker="o") for label, colour in zip(classes, colours)]
            legend_below(page, handles[:: ceil(len(handles) / 20)], columns=10)
    return pages
