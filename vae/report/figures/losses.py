"""Models ranked by their losses."""

import pandas as pd
from matplotlib.figure import Figure

from vae.analysis import ranking
from vae.report.figures.drawing import (
    COLUMNS,
    GREEN,
    GREY,
    KLD,
    RECONSTRUCTION,
    SMALLEST_KLD,
    Study,
    figure,
    legend_below,
    line,
    log_limits,
    markers,
    points,
    ranking_pages,
)


@figure
def kld_ranked(study: Study) -> list[Figure]:
    """Every label, ranked by its KLD."""
    labels = study.labels.dropna(subset="kld").sort_values("kld", kind="stable")
    threshold = study.rows["collapsed_below"].iloc[0]
    pages = []
    for page, columns in ranking_pages(labels, "Models ranked by KLD (rank 1 = smallest)"):
        for axes, part in columns:
            points(axes, part, "kld")
            axes.set_xscale("log")
            axes.set_xlim(log_limits(labels["kld"], threshold))
            axes.axvline(threshold, color=GREY, linestyle="--", linewidth=1)
            axes.set_xlabel(KLD)
        legend_below(page, [*markers(), line(f"collapsed below {threshold:g} nats", linestyle="--")])
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
        study, ranking.top(study.labels), "Top quartile by reconstruction (rank 1 = best)", columns=1
    )


def _reconstruction(study: Study, labels: pd.DataFrame, title: str, columns: int = COLUMNS) -> list[Figure]:
    baseline = study.rows["mean_image_reconstruction"].iloc[0]
    pages = []
    for page, parts in ranking_pages(labels, title, columns):
        for axes, part in parts:
            points(axes, part, "reconstruction")
            axes.set_xlabel(f"● ■ {RECONSTRUCTION}")
            axes.axvline(baseline, color=GREY, linestyle="--", linewidth=1)
            low = min(labels["reconstruction_low"].min(), baseline)
            high = max(labels["reconstruction_high"].max(), baseline)
            axes.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))
            second = axes.twiny()
            second.plot(part["kld"].clip(lower=SMALLEST_KLD), part["rank"], "+", color=GREEN, markersize=5)
            second.set_xscale("log")
            second.set_xlim(log_limits(labels["kld"]))
            second.set_xlabel(f"+ {KLD}", color=GREEN)
            second.tick_params(axis="x", colors=GREEN)
            second.spines["top"].set_visible(True)
        loss = line(f"mean image: {baseline:.1f} nats", linestyle="--")
        legend_below(page, [*markers(), line("KLD (upper axis)", GREEN, marker="+"), loss])
        pages.append(page)
    return pages
