"""The explore page: a finished study in the browser, in one file that asks for nothing else."""

import base64
import hashlib
import json
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vae.analysis import effects, fidelity, table
from vae.analysis.claims import verdicts
from vae.report import pages
from vae.report.explore import content

TEMPLATES, VENDOR = Path(__file__).parent / "templates", Path(__file__).parent / "vendor"
LIBRARIES = ("d3.min.js", "plot.umd.min.js")


def of_study(results: Path, dataset: Path) -> str:
    """The page of the study in a folder of results, with its dataset.npz."""
    rows = table.read(results / "tables/models.csv")
    held = content.study(results, dataset, rows)
    title, *sentences = findings(results, table.base(rows))
    if held["images"]["labels"] is None:
        sentences.append("The dataset has no labels: no point has the colour of a class, no class is read from codes.")
    return render(title, sentences, {"studies": [held]})


def render(title: str, sentences: list[str], held: dict) -> str:
    """The page of what `content.study` gives: HTML that may run its own scripts, by their hashes, and nothing else."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    scripts = [(VENDOR / name).read_text(encoding="utf-8") for name in LIBRARIES]
    scripts.append((TEMPLATES / "explore.js").read_text(encoding="utf-8"))
    return environment.get_template("explore.html").render(
        title=title,
        sentences=sentences,
        style=(TEMPLATES / "explore.css").read_text(encoding="utf-8"),
        scripts=scripts,
        hashes=[base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts],
        # No data can end the element that it stands in.
        data=json.dumps(held, allow_nan=False, separators=(",", ":"), sort_keys=True).replace("<", "\\u003c"),
    )


def findings(results: Path, rows: pd.DataFrame) -> list[str]:
    """The title, and the sentences below it: the same as on the page of claims."""
    claims = verdicts.read(results / "tables/claims.csv")
    budget = table.read(results / "tables/fidelity.csv", fidelity.COLUMNS)
    shares = table.read(results / "tables/effects.csv", effects.COLUMNS)
    of_paper = claims[claims["of"] == "paper"]
    return [pages.finding(rows, shares), *pages.summary(rows, budget, of_paper, shares)]
