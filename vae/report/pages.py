"""Pages for people, from the templates beside this file: the claims, the leaderboard, and two studies."""

from base64 import b64encode
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vae.analysis import certificate
from vae.analysis.claims.verdicts import main_rows
from vae.analysis.comparison import Study
from vae.analysis.fidelity import Fidelity
from vae.catalogue import FIGURES

VERDICTS = ("supported", "contradicted", "undecided")
# Measures on the page of claims: the column of the table of models, and its baselines.
BASELINES = {
    "KLD": {"models": "kld", "linear VAE": "linear_kld"},
    "active units": {"models": "active_units", "linear VAE": "linear_active_units"},
    "probe accuracy": {
        "models": "probe_accuracy",
        "untrained": "probe_accuracy_untrained",
        "components": "probe_accuracy_pca",
        "pixels": "probe_accuracy_pixels",
    },
    "kNN accuracy": {
        "models": "knn_accuracy",
        "untrained": "knn_accuracy_untrained",
        "components": "knn_accuracy_pca",
        "pixels": "knn_accuracy_pixels",
    },
    "FID-style distance of samples": {
        "models": "frechet_distance",
        "training images": "frechet_floor",
        "mean image": "frechet_ceiling",
    },
}
# Columns of the leaderboard, and their headings.
COLUMNS = {
    "rank": "rank",
    "label": "model",
    "seed": "seed",
    "latent_size": "latent size",
    "encoder": "encoder",
    "decoder": "decoder",
    "reconstruction": "reconstruction",
    "kld": "KLD",
    "elbo": "ELBO",
    "likelihood_bound": "log p(x) bound",
    "collapsed": "collapsed",
    "active_units": "active units",
    "probe_accuracy": "probe accuracy",
    "knn_accuracy": "kNN accuracy",
    "silhouette": "silhouette",
    "frechet_distance": "FID-style distance",
    "encoder_parameters": "encoder parameters",
    "decoder_parameters": "decoder parameters",
    "effective_beta": "effective beta",
    "seconds": "seconds",
    "status": "status",
}
OF_CLASSES = ("probe_accuracy", "knn_accuracy", "silhouette", "frechet_distance")


def claims(table: pd.DataFrame, rows: pd.DataFrame, budget: pd.DataFrame, figures: list[Path]) -> str:
    """The claims: verdict, finding and number of each, where it comes out otherwise, and the figures that show them.

    Below them stand the means of all models by latent size, beside their baselines. `table` is that of claims, `rows`
    that of models, `budget` that of the budget's fidelity; `figures` are PNGs, each named like the figure.
    """
    first = main_rows(table)
    means = rows[rows["status"] == "ok"].groupby("latent_size").mean(numeric_only=True)
    measures = {
        name: columns
        for name, columns in BASELINES.items()
        if columns["models"] in means and means[columns["models"]].notna().any()
    }
    return _render(
        "claims.html",
        title="What the paper claims, and what this study finds",
        summary=_summary(first, rows),
        trained=_trained(rows, budget),
        budget=list(budget.itertuples()),
        claims=list(first.itertuples()),
        measures=measures,
        by_latent_size=list(means.iterrows()),
        figures=[_picture(path) for path in figures],
    )


def _summary(first: pd.DataFrame, rows: pd.DataFrame) -> str:
    seeds, diverged = int(first["seeds"].iloc[0]), int((rows["status"] != "ok").sum())
    counts = first["verdict"].value_counts().reindex(list(VERDICTS), fill_value=0)
    counted = f"Of {len(first)} claims, " + ", ".join(f"{counts[verdict]} are {verdict}" for verdict in VERDICTS)
    beta = rows["effective_beta"]
    summary = (
        f"{counted}, by {first['architectures'].iloc[0]} architectures with {seeds}"
        f" seed{'s' if seeds != 1 else ''} each, {rows['epochs'].max()} epochs of training, and an effective beta of"
        f" {beta.min():.3g} to {beta.max():.3g}; {diverged} models diverged and are left out. A number is positive"
        " where its claim holds. A verdict takes a 95% interval, by bootstrap over architectures and seeds, that lies"
        " on one side of zero."
    )
    return summary + (" With one seed there is no interval, and so no verdict: train more seeds." if seeds == 1 else "")


def _trained(rows: pd.DataFrame, budget: pd.DataFrame) -> str:
    """Whether the models are trained: what twice the budget gains, and how far they are from their optimum at least."""
    slack = rows["slack"].dropna()
    far = (
        f" {(slack > certificate.FLAGGED).sum()} of {len(slack)} models are certainly more than {certificate.FLAGGED}"
        " nats from their optimum: another model of their architecture does better under their own objective."
    )
    if budget["gain"].isna().all():
        reason = "each sentinel diverged" if len(budget) else "no sentinel was trained for longer"
        return f"Whether the models are trained is not known: {reason}.{far}"
    fidelity = Fidelity.of(budget)
    order = f"Kendall's τ of their order is {fidelity.tau:.2f}" if np.isfinite(fidelity.tau) else "they have no order"
    verdict = (
        "so ranks are those of trained models."
        if fidelity.converged
        else "so verdicts that rest on ranks hold at this budget, and may not for trained models."
    )
    return f"Twice the budget gains a sentinel {fidelity.gain:.2f} nats at most, and {order}: {verdict}{far}"


def comparison(table: pd.DataFrame, first: Study, second: Study, figure: Path) -> str:
    """The verdicts of two studies side by side, and the figure of shifted ranks."""
    both = (table["survives"] & (table["verdict_a"] == "supported")).sum()
    return _render(
        "comparison.html",
        title=f"{first.name} and {second.name}",
        summary=(
            f"{table['survives'].sum()} of {len(table)} verdicts are the same in {first.name} and {second.name};"
            f" claims that are supported in both: {both}."
        ),
        names=(first.name, second.name),
        claims=list(table.itertuples()),
        figures=[_picture(figure)],
    )


def leaderboard(rows: pd.DataFrame, dataset: dict) -> str:
    """The table of models as a page that sorts by any column; `dataset` is the dataset's .json."""
    labelled = dataset["classes"] is not None
    columns = {name: heading for name, heading in COLUMNS.items() if labelled or name not in OF_CLASSES}
    # Without NumPy's types, which the template does not know; models that diverged have missing values.
    shown = rows[list(columns)].astype(object).where(rows[list(columns)].notna(), None)
    collapsed, diverged = shown["collapsed"].eq(True), rows["status"] != "ok"
    return _render(
        "leaderboard.html",
        title="Leaderboard",
        summary=(
            f"{len(rows)} models on {dataset['name']} ({dataset['train_images']} training and "
            f"{dataset['test_images']} test images); {collapsed.sum()} collapsed, {diverged.sum()} diverged."
            + ("" if labelled else " The dataset has no labels: nothing is read from codes, no figure shows classes.")
        ),
        columns=columns,
        rows=[
            {"cells": cells, "aside": aside}
            for cells, aside in zip(shown.itertuples(index=False), collapsed | diverged, strict=True)
        ],
    )


def number(value: float, low: float, high: float, p: float) -> str:
    """A claim's number with its interval and p-value, where it has them."""
    if not np.isfinite(value):
        return "cannot be computed from these models"
    interval = f" ({low:+.2f} to {high:+.2f})" if np.isfinite(low) else ""
    return f"{value:+.2f}{interval}" + (f", p = {p:.2g}" if np.isfinite(p) else "")


def rounded(value: float) -> str:
    """Three digits, or a whole number from a hundred on."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _picture(path: Path) -> dict[str, str]:
    """What a template needs of a PNG that is named like its figure."""
    name = path.stem
    caption = FIGURES[name].caption if name in FIGURES else ""
    content = b64encode(path.read_bytes()).decode()
    return {"name": name, "title": name.replace("_", " "), "caption": caption, "content": content}


def _render(template: str, **values: object) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(number=number, rounded=rounded, **values) + "\n"
