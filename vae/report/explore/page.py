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
from vae.report.explore.runtime import Runtime

TEMPLATES, VENDOR = Path(__file__).parent / "templates", Path(__file__).parent / "vendor"
LIBRARIES = ("d3.min.js", "plot.umd.min.js")


def of_study(results: Path, dataset: Path) -> str:
    """The page of the study in a folder of results, with its dataset.npz."""
    rows = table.read(results / "tables/models.csv")
    payload = content.study(results, dataset, rows)
    title, *sentences = findings(results, table.base(rows))
    if payload["images"]["labels"] is None:
        sentences.append("The dataset has no labels: no point has the colour of a class, no class is read from codes.")
    return render(title, sentences, {"studies": [payload]})


def render(title: str, sentences: list[str], payload: dict, ready: Runtime | None = None) -> str:
    """The page of what `content.study` gives; with a runtime, models run in it, from where `payload["live"]` says."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("explore.html").render(
        title=title,
        sentences=sentences,
        policy=policy(payload, ready),
        style=(TEMPLATES / "explore.css").read_text(encoding="utf-8"),
        scripts=_scripts(),
        modules=_modules(ready),
        # No data can end the element that it stands in.
        data=json.dumps(payload, allow_nan=False, separators=(",", ":"), sort_keys=True).replace("<", "\\u003c"),
    )


def policy(payload: dict, ready: Runtime | None, served: bool = False) -> str:
    """The Content-Security-Policy of the page: its own scripts, by their hashes, pictures in its data, nothing else.

    With a runtime, WebAssembly too; where the page is `served`, it may ask its own server for models.
    """
    hashes = [hashlib.sha256(text.encode()).digest() for text in (*_scripts(), *_modules(ready))]
    allowed = [f"'sha256-{base64.b64encode(value).decode()}'" for value in hashes]
    rules = {
        "default-src": ["'none'"],
        "img-src": ["data:", "blob:"],
        "style-src": ["'unsafe-inline'"],
        "script-src": allowed + (["'wasm-unsafe-eval'"] if ready else []),
        "connect-src": ["'self'"] if "models" in payload.get("live", {}) else ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    } | ({"frame-ancestors": ["'none'"]} if served else {})  # which stands in headers alone
    return "; ".join(f"{name} {' '.join(values)}" for name, values in rules.items())


def _scripts() -> list[str]:
    scripts = [VENDOR / name for name in LIBRARIES] + [TEMPLATES / "explore.js"]
    return [path.read_text(encoding="utf-8") for path in scripts]


def _modules(ready: Runtime | None) -> list[str]:
    return [ready.script, (TEMPLATES / "live.js").read_text(encoding="utf-8")] if ready else []


def findings(results: Path, rows: pd.DataFrame) -> list[str]:
    """The title, and the sentences below it: the same as on the page of claims."""
    claims = verdicts.read(results / "tables/claims.csv")
    budget = table.read(results / "tables/fidelity.csv", fidelity.COLUMNS)
    shares = table.read(results / "tables/effects.csv", effects.COLUMNS)
    of_paper = claims[claims["of"] == "paper"]
    return [pages.finding(rows, shares), *pages.summary(rows, budget, of_paper, shares)]
