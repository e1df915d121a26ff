"""Refresh the reference results: `python docs/results/refresh.py [STUDY RESULTS]`.

With a study and its results, the folder of the study is made anew from them. In any case, claims, effects and means of
all stored studies are computed anew from the stored tables, and the pages that quote them are written.
"""

import argparse
import re
import shutil
import sys
from base64 import b64encode
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image
from stored import (
    Stored,
    accuracy_by_size,
    by_size,
    changed,
    collapsed_by_size,
    conditions,
    in_words,
    interval,
    listed,
    number,
    points_below,
)

from vae import cli, provenance
from vae.analysis import table
from vae.errors import UserError
from vae.files import read_config, write_json, write_text
from vae.report.pages import amount

HERE = Path(__file__).parent
README = HERE.parent.parent / "README.md"
MEASURED = ("models", "architectures", "counts", "fidelity", "swap")
DERIVED = ("claims", "effects", "means", "rate_distortion")
FIGURES = ("collapse_atlas", "effects", "loss_decomposition")
WORDS = (
    accuracy_by_size, amount, by_size, changed, collapsed_by_size, conditions, in_words, interval, listed, number,
    points_below,
)  # fmt: skip
# The findings in the README stand between these.
BEGIN, END = "<!-- findings, written by docs/results/refresh.py -->\n", "<!-- end of findings -->"


def copy(study: str, results: Path) -> None:
    """Store the results of a study: its config, tables, page to explore, and figures of 256 colours.

    Raises UserError where the results are not whole, or their config names a path of this machine.
    """
    if not re.fullmatch(r"[a-z][a-z0-9-]*", study):
        raise UserError(f"{study}: not a name of a study; take small letters, digits and hyphens")
    config = read_config(str(results / "config.yaml"))
    if config["dataset"]["path"] or config["families"]:
        raise UserError(f"{results}/config.yaml: names a path; results that others can reproduce have none")
    table.check(results, config)
    figures = [figure for figure in FIGURES if (results / f"figures/{figure}.png").exists()]
    needed = [*(f"tables/{name}.csv" for name in MEASURED), "explore.html", "claims.html", *map(_png, FIGURES[:2])]
    for name in needed:
        if not (results / name).is_file():
            raise UserError(f"{results}: not finished (has no {name}); run the study to its end")
    # Complete before it takes the place of an older one.
    with TemporaryDirectory(dir=HERE) as unfinished:
        folder = Path(unfinished, study)
        folder.mkdir()
        write_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
        for name in MEASURED:
            shutil.copy(results / f"tables/{name}.csv", folder)
        shutil.copy(results / "explore.html", folder)
        for figure in figures:
            picture = Image.open(results / _png(figure)).convert("RGB").quantize(256)
            picture.save(folder / f"{figure}.png", optimize=True)
        write_json(folder / "run.json", run_of(results))
        shutil.rmtree(HERE / study, ignore_errors=True)
        folder.rename(HERE / study)


def _png(figure: str) -> str:
    return f"figures/{figure}.png"


def run_of(results: Path) -> dict:
    """The package and its versions, the device and the dataset of a study, and its core-seconds by stage."""
    training = provenance.read(min(results.glob("models/*/seed*/provenance.json")))
    seconds: dict[str, float] = {}
    for path in results.glob("benchmarks/**/*.tsv"):
        stage = path.relative_to(results / "benchmarks").parts[0].removesuffix(".tsv")
        times = table.read_csv(path, ("cpu_time",), "benchmark", sep="\t")["cpu_time"]
        seconds[stage] = seconds.get(stage, 0.0) + float(times.sum())
    made = training["provenance"]
    return {
        "package": made["package"],
        "versions": made["versions"],
        "device": training["device"],
        "dataset": training["dataset"],
        "core_seconds": {stage: round(seconds[stage]) for stage in sorted(seconds)},
    }


def derive(folder: Path) -> None:
    """Compute the tables that rest on those that are stored, and the page of claims, which shows the stored figures."""
    tables = {name: str(folder / f"{name}.csv") for name in (*MEASURED, *DERIVED)}
    inputs = [part for name in ("fidelity", "swap") for part in (f"--{name}", tables[name])]
    run("claims", "--table", tables["models"], *inputs, *(tables[name] for name in DERIVED))
    inputs = [part for name in ("claims", "effects", "fidelity") for part in (f"--{name}", tables[name])]
    figures = [path for name in FIGURES if (path := folder / f"{name}.png").exists()]
    page = folder / "claims.html"
    run("page", "--table", tables["models"], *inputs, str(page), *map(str, figures))
    text = page.read_text(encoding="utf-8")
    for path in figures:  # once in the repository, and not in the page too
        text = text.replace(f"data:image/png;base64,{b64encode(path.read_bytes()).decode()}", path.name)
    write_text(page, text)


def run(*command: str) -> None:
    """Run a stage."""
    if code := cli.main(list(command)):
        sys.exit(code)


def pages() -> dict[Path, str]:
    """The pages that quote the stored tables, as they should read."""
    environment = Environment(
        loader=FileSystemLoader(HERE), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    environment.globals |= {function.__name__: function for function in WORDS}
    folders = sorted(
        (path.parent for path in HERE.glob("*/models.csv")), key=lambda path: (path.name != "default", path)
    )
    studies = {folder.name.replace("-", "_"): Stored(folder) for folder in folders}
    names = {"studies": studies} | studies
    before, rest = README.read_text(encoding="utf-8").split(BEGIN)
    findings = environment.get_template("findings.md.jinja").render(names)
    return {
        HERE / "README.md": environment.get_template("README.md.jinja").render(names) + "\n",
        README: before + BEGIN + findings + "\n" + END + rest.split(END)[1],
    }


def main() -> None:
    """Refresh."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", nargs="?", help="the name of its folder in docs/results")
    parser.add_argument("results", nargs="?", type=Path, help="its folder of results")
    args = parser.parse_args()
    if args.study and not args.results:
        parser.error("a study goes with its results")
    try:
        if args.study:
            copy(args.study, args.results)
        for path in sorted(HERE.glob("*/models.csv")):
            derive(path.parent)
        for page, text in pages().items():
            write_text(page, text)
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
