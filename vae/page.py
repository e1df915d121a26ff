"""Pages for people: the claims with the figures that show them, and two studies beside each other."""

from base64 import b64encode
from html import escape as text
from pathlib import Path

import numpy as np
import pandas as pd

from vae.errors import UserError

VERDICTS = ("supported", "contradicted", "undecided")
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 sans-serif; margin: 2em auto; max-width: 68em; padding: 0 1em; }}
table {{ border-collapse: collapse; }}
td, th {{ border-bottom: 1px solid #ccc; padding: .4em .8em; text-align: left; vertical-align: top; }}
.supported {{ color: #1a7f37; }} .contradicted {{ color: #b35900; }} .undecided {{ color: #666; }}
.wide td, .wide th {{ font-size: 13px; padding: .4em .45em; }}
small {{ color: #666; }}
img {{ max-width: 100%; }}
</style>
<h1>{title}</h1>
{body}
</html>
"""


def read(path: str | Path) -> pd.DataFrame:
    """Read a table of claims back; UserError where the file is missing or is not one."""
    try:
        table = pd.read_csv(path, keep_default_na=False, na_values={"low": "", "high": "", "p": "", "value": ""})
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a table of claims ({error})") from None
    if missing := {"claim", "sentence", "verdict", "value", "finding", "flips"} - set(table):
        raise UserError(f"{path}: not a table of claims (has no column {', '.join(sorted(missing))})")
    return table


def main_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The row of each claim under the ranking and the cutoff that decide: those that stand first."""
    return table[(table["ranking"] == table["ranking"].iloc[0]) & (table["cutoff"] == table["cutoff"].iloc[0])]


def claims(table: pd.DataFrame, rows: pd.DataFrame, figures: list[Path]) -> str:
    """The claims: verdict, finding and number of each, where it comes out otherwise, and the figures that show them.

    Below them stand the means of all models by latent size, beside what they are held against. `rows` is the table of
    models; `figures` are PNGs, each named like the figure.
    """
    first = main_rows(table)
    seeds, diverged = int(first["seeds"].iloc[0]), int((rows["status"] != "ok").sum())
    beta = rows["effective_beta"]
    summary = (
        f"{_counted(first)} by {first['architectures'].iloc[0]} architectures with {seeds}"
        f" seed{'s' if seeds != 1 else ''} each, {rows['epochs'].max()} epochs of training, and an effective beta of"
        f" {beta.min():.3g} to {beta.max():.3g}; {diverged} models diverged and are left out. A number is positive"
        " where its claim holds. A verdict takes a 95% interval, by bootstrap over architectures and seeds, that lies"
        " on one side of zero."
    )
    if seeds == 1:
        summary += " With one seed there is no interval, and so no verdict: train more seeds."
    head = "<tr><th>the paper says</th><th>verdict</th><th>this study finds</th><th>number, and its interval</th></tr>"
    body = [f"<p>{summary}</p>", "<table>", head, *map(_claim, first.itertuples()), "</table>", _by_latent_size(rows)]
    body += map(figure, figures)
    return PAGE.format(title="What the paper claims, and what this study finds", body="\n".join(body))


# Means by latent size: a heading, a column of the table of models, and the columns that it is held against.
HELD = {
    "KLD": ("kld", {"linear VAE": "linear_kld"}),
    "active units": ("active_units", {"linear VAE": "linear_active_units"}),
    "probe accuracy": (
        "probe_accuracy",
        {
            "untrained": "probe_accuracy_untrained",
            "components": "probe_accuracy_pca",
            "pixels": "probe_accuracy_pixels",
        },
    ),
    "kNN accuracy": (
        "knn_accuracy",
        {"untrained": "knn_accuracy_untrained", "components": "knn_accuracy_pca", "pixels": "knn_accuracy_pixels"},
    ),
    "Fréchet distance of samples": (
        "frechet_distance",
        {"training images": "frechet_floor", "mean image": "frechet_ceiling"},
    ),
}


def _by_latent_size(rows: pd.DataFrame) -> str:
    means = rows[rows["status"] == "ok"].groupby("latent_size").mean(numeric_only=True)
    shown = {name: (own, others) for name, (own, others) in HELD.items() if own in means and means[own].notna().any()}
    if not shown:
        return ""
    heads = "".join(f"<th colspan={1 + len(others)}>{name}</th>" for name, (_, others) in shown.items())
    columns = [pair for own, others in shown.values() for pair in (("models", own), *others.items())]
    names = "".join(f"<td><small>{name}</small></td>" for name, _ in columns)
    body = [
        f"<tr><td>{size}</td>" + "".join(f"<td>{_rounded(row[column])}</td>" for _, column in columns) + "</tr>"
        for size, row in means.iterrows()
    ]
    title = "<h2>What the models are worth, by latent size</h2>"
    top = [f"<tr><th>latent size</th>{heads}</tr>", f"<tr><td></td>{names}</tr>"]
    return "\n".join([title, '<table class="wide">', *top, *body, "</table>"])


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _counted(first: pd.DataFrame) -> str:
    said = first["verdict"].value_counts().reindex(list(VERDICTS), fill_value=0)
    return f"Of {len(first)} claims, " + ", ".join(f"{said[verdict]} are {verdict}" for verdict in VERDICTS) + ","


def number(value: float, low: float, high: float, p: float) -> str:
    """A claim's number with its interval and p-value, where it has them."""
    if not np.isfinite(value):
        return "cannot be had from these models"
    interval = f" ({low:+.2f} to {high:+.2f})" if np.isfinite(low) else ""
    return f"{value:+.2f}{interval}" + (f", p = {p:.2g}" if np.isfinite(p) else "")


def _claim(one) -> str:
    flips = f"<br><small>Otherwise {text(one.flips)}.</small>" if one.flips else ""
    return (
        f'<tr><td>{text(one.sentence)}</td><td class="{one.verdict}">{one.verdict}</td>'
        f"<td>{text(one.finding)}{flips}</td><td>{number(one.value, one.low, one.high, one.p)}<br>"
        f'<small>{text(one.statistic)}; <a href="#{one.figure}">figure</a></small></td></tr>'
    )


def figure(path: Path) -> str:
    """A PNG under its name, to which links lead."""
    name = path.stem
    image = b64encode(path.read_bytes()).decode()
    return f'<h2 id="{name}">{name.replace("_", " ")}</h2>\n<img alt="{name}" src="data:image/png;base64,{image}">'
