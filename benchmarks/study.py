"""Where the time of a study goes, and how it scales with the cores.

    python benchmarks/study.py [--cores N ...] [--configfile FILE ...] [--json FILE]

Runs the whole study in an empty folder, once for each number of cores, and adds up what the jobs took: training proper
(the epochs, from each model's provenance), what else training jobs do (starting Python and torch, evaluation, writing),
the training of models that are not kept (tuning, and the budget's fidelity), and the stages after it. What is left of
the cores' time is Snakemake itself and idleness.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import pandas as pd

from vae.catalogue import STAGES

ROOT = Path(__file__).parent.parent
# What stages are counted together; the others by themselves.
TOGETHER = {
    "baselines": ("baselines", "classifier"),
    "tables and pages": ("tables", "claims", "page", "explore"),
    "dataset and grid": ("dataset", "check"),
}
ALONE = [name for name in STAGES if name != "train" and not any(name in names for names in TOGETHER.values())]
AFTER = [name for name in ALONE if name not in ("tune", "fidelity")]


def snakemake(folder: Path, *arguments: object) -> float:
    """Run Snakemake on this checkout in `folder`; seconds."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder, *arguments]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    start = perf_counter()
    subprocess.run(list(map(str, command)), check=True, env=os.environ | {"PATH": path}, stdout=subprocess.DEVNULL)
    return perf_counter() - start


def breakdown(results: Path, wall: float, cores: int) -> dict[str, float]:
    """Core-seconds by what they went to; they add up to `wall` seconds of all cores."""

    def jobs(*stages: str) -> float:
        folder = results / "benchmarks"
        files = [file for file in folder.rglob("*.tsv") if file.relative_to(folder).parts[0].split(".")[0] in stages]
        return sum(float(pd.read_csv(file, sep="\t")["s"].iloc[0]) for file in files)

    models = (results / "models").glob("*/*/provenance.json")
    training = sum(json.loads(file.read_text())["seconds"] for file in models)
    parts = {"training": training, "start-up and evaluation of training jobs": jobs("train") - training}
    parts |= {name: jobs(name) for name in ALONE} | {name: jobs(*stages) for name, stages in TOGETHER.items()}
    return parts | {"Snakemake and idle": wall * cores - sum(parts.values())}


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", type=int, nargs="+", default=[os.cpu_count()], help="cores to run on, in turn")
    parser.add_argument("--configfile", nargs="+", default=[], help="overlays of the config, as for snakemake")
    parser.add_argument("--json", type=Path, help="write the tables to this file too")
    args = parser.parse_args(arguments)
    overlays = ["--configfile", *map(os.path.abspath, args.configfile)] if args.configfile else []
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for cores in args.cores:
            folder = Path(scratch) / str(cores)
            folder.mkdir()
            wall = snakemake(folder, "--cores", cores, "--quiet", "all", *overlays)
            parts = breakdown(folder / "results", wall, cores)
            after = sum(parts[name] for name in AFTER) / (wall * cores)
            rows.append({"cores": cores, "wall": wall, "after_training": after, "core_seconds": parts})
            print(f"{cores} cores: {wall:.0f} s; {rows[0]['wall'] / wall:.2f} times {args.cores[0]} cores")
            for name, seconds in parts.items():
                print(f"  {name:<42} {seconds:7.0f} core-seconds {seconds / wall / cores:5.0%}")
            print(f"  {', '.join(AFTER)} together: {after:.0%}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
