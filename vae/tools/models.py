"""List the models of a study that meet a condition, in any order, as text, CSV, JSON or Markdown."""

import argparse
import json
import logging
import re
from pathlib import Path
from typing import Any

import pandas as pd

from vae import provenance
from vae.analysis import condition, table
from vae.errors import UserError
from vae.grid import Spec, folder

log = logging.getLogger(__name__)

# What is shown by default, but for columns that no model has a value of.
SHOWN = (
    "rank",
    "label",
    "seed",
    "status",
    "reconstruction",
    "kld",
    "collapsed",
    "probe_accuracy",
    "encoder_mb",
    "encoder_flops",
    "images_per_second",
    "int8_probe_loss",
    "int8_times_as_fast",
    "folder",
)
OF_FILES = ("encoder_mb", "int8_mb", "int8_rms_error", "int8_probe_loss", "int8_times_as_fast", "stale")
NEEDED = ("label", "seed", "validation_reconstruction", "status")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The folder of a study; which models, in which order, which columns, and how they are written."""
    # A column to sort by may begin with a minus, which argparse lets values do that look like negative numbers.
    parser._negative_number_matcher = re.compile(r"-[A-Za-z_][\w.]*(,.*)?$")
    parser.add_argument(
        "results", type=Path, nargs="?", default=Path("results"), help="the results of a study (default: results)"
    )
    parser.add_argument(
        "--where",
        metavar="CONDITION",
        help="such as 'latent_size <= 50 and not collapsed'; a comparison with a missing value is not met,"
        " and 'kld is None' asks for one",
    )
    parser.add_argument(
        "--sort",
        metavar="COLUMN[,-COLUMN]",
        help="columns to sort by, with a minus from the largest; missing values come last (default: rank)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="the first N models (default: all)")
    parser.add_argument("--columns", metavar="COLUMN[,COLUMN]", help="columns to show, or 'all'")
    parser.add_argument("--format", choices=list(FORMATS), default="table", help="(default: table)")


def run(args: argparse.Namespace) -> None:
    """Print a line for each model."""
    rows = read(args.results)
    if args.limit is not None and args.limit < 1:
        raise UserError(f"--limit {args.limit}: give a number from 1")
    if args.where is not None:
        rows = rows[condition.met(rows, args.where)]
        if rows.empty:
            log.warning("no model meets the condition %s", args.where)
    if args.sort:
        rows = _sorted(rows, args.sort.split(","))
    shown = _columns(rows, args.columns)
    print(FORMATS[args.format](rows[shown].head(args.limit)), end="")


def read(results: Path) -> pd.DataFrame:
    """The table of models, with the size and the folder of every encoder, and what 8-bit integers cost it."""
    rows = table.read(results / "tables/models.csv", NEEDED)
    labels_and_seeds = zip(rows["label"], rows["seed"], strict=True)
    folders = [folder(results / "models", Spec.parse(label), seed) for label, seed in labels_and_seeds]
    files = pd.DataFrame([_of_files(path) for path in folders], index=rows.index, columns=OF_FILES)
    if stale := files.pop("stale").eq(True).sum():
        log.warning("%d encoders in 8-bit integers are older than their models, and left out: snakemake int8", stale)
    return rows.join(files).assign(folder=[str(path) for path in folders])


def _of_files(path: Path) -> dict[str, float | bool | None]:
    """Columns of a model's encoder from its files, by the names in `OF_FILES`; none for files that are missing."""
    graph, cost = path / "encoder.onnx", path / "encoder.int8.json"
    facts: dict[str, float | bool | None] = {"encoder_mb": graph.stat().st_size / 1e6 if graph.exists() else None}
    if not cost.exists():
        return facts
    measured = provenance.read(cost)
    if measured["made_from"] != provenance.read(path / "export.json")["sha256"][graph.name]:
        return facts | {"stale": True}
    exact, quantised = (measured["probe_accuracy"][kind] for kind in ("float32", "int8"))
    return facts | {
        "int8_mb": measured["bytes"]["int8"] / 1e6,
        "int8_rms_error": measured["mean_rms_error"],
        "int8_probe_loss": None if None in (exact, quantised) else exact - quantised,
        "int8_times_as_fast": measured["times_as_fast"],
    }


def _sorted(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The rows by some columns; those that are equal in all of them stay in their order."""
    names = [key.removeprefix("-") for key in keys]
    _check(names, rows, "--sort")
    # Not all at once: pandas sorts by several columns in one way only where missing values are.
    for name, key in reversed(list(zip(names, keys, strict=True))):
        rows = rows.sort_values(name, ascending=name == key, kind="stable", na_position="last")
    return rows


def _columns(rows: pd.DataFrame, given: str | None) -> list[str]:
    """Which columns are shown."""
    if given is None:
        return [name for name in SHOWN if name in rows and rows[name].notna().any()]
    names = list(rows.columns) if given == "all" else given.split(",")
    _check(names, rows, "--columns")
    return names


def _check(names: list[str], rows: pd.DataFrame, option: str) -> None:
    try:
        condition.check_columns(names, rows.columns)
    except UserError as error:
        raise UserError(f"{option}: {error}") from None


def _table(rows: pd.DataFrame) -> str:
    """Columns that are aligned: numbers to the right, and text to the left."""
    columns = []
    for name, values in _texts(rows).items():
        align = str.ljust if any(isinstance(value, str) for value in rows[name]) else str.rjust
        width = max(map(len, [name, *values]))
        columns.append([align(text, width) for text in [name, *values]])
    return "".join("  ".join(line).rstrip() + "\n" for line in zip(*columns))


def _markdown(rows: pd.DataFrame) -> str:
    texts = _texts(rows)
    lines = [list(texts), ["---"] * len(texts), *zip(*texts.values())]
    return "".join(f"| {' | '.join(text.replace('|', chr(92) + '|') for text in line)} |\n" for line in lines)


def _texts(rows: pd.DataFrame) -> dict[str, list[str]]:
    return {name: [_text(value) for value in rows[name].astype(object)] for name in rows.columns}


def _text(value: Any) -> str:
    """A value to be read: a number with two decimals, with three where it is below 1, and – where it is missing."""
    if pd.isna(value):
        return "–"
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) >= 1 or value == 0 else f"{value:.3{'f' if abs(value) >= 0.01 else 'g'}}"
    return str(value)


def _json(rows: pd.DataFrame) -> str:
    """A list of objects, in full precision; null where a value is missing."""
    return json.dumps(rows.astype(object).where(rows.notna(), None).to_dict("records"), indent=2) + "\n"


def _csv(rows: pd.DataFrame) -> str:
    return rows.to_csv(index=False)


FORMATS = {"table": _table, "csv": _csv, "json": _json, "md": _markdown}
