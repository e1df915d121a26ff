"""What planning a study costs, by its number of models: dry runs of grids that grow.

    python benchmarks/scaling.py [--models 1000 10000 100000] [--json FILE]

A dry run builds the whole graph of jobs, as every run does before its first job. Printed are the time of the first one,
in which networks are checked and jobs estimated, that of the next one, and the most memory that Snakemake held. The
default study comes first.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import yaml

ROOT = Path(__file__).parent.parent


def networks(dense: int, convolutional: int) -> list[str]:
    """Dense networks to one depth, and convolutional ones to another."""
    depths = {"DNN": dense, "CNN": convolutional}
    return [f"{family}{depth}" for family, most in depths.items() for depth in range(1, most + 1)]


# Latent sizes × encoders × decoders × seeds: 8 × 5 × 5 × 5, 20 × 10 × 10 × 5, 50 × 20 × 20 × 5.
GRIDS = {
    1000: {"latent_sizes": list(range(2, 18, 2)), "networks": networks(3, 2)},
    10_000: {"latent_sizes": list(range(2, 42, 2)), "networks": networks(5, 5)},
    100_000: {"latent_sizes": list(range(2, 102, 2)), "networks": networks(15, 5)},
}
SEEDS = [0, 1, 2, 3, 4]


def study(models: int) -> dict:
    """The config of a study of that many models; the default study's for none."""
    if not models:
        return {}
    grid = GRIDS[models]
    sides = {"encoders": grid["networks"], "decoders": grid["networks"]}
    return {"grid": {"latent_sizes": grid["latent_sizes"], **sides}, "training": {"seeds": SEEDS}}


def dry_runs(config: dict) -> dict:
    """Seconds of two dry runs in an empty folder, with an empty cache; peak memory in MiB, and number of jobs."""
    with tempfile.TemporaryDirectory() as scratch:
        overlay = Path(scratch) / "study.yaml"
        overlay.write_text(yaml.safe_dump(config))
        snakefile = ["--snakefile", ROOT / "Snakefile", "--directory", scratch, "--configfile", overlay]
        command = [sys.executable, "-m", "snakemake", *snakefile, "--dry-run", "--quiet", "rules"]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "XDG_CACHE_HOME": scratch}
        seconds = []
        for _ in range(2):
            start = perf_counter()
            done = subprocess.run(list(map(str, command)), check=True, env=environment, capture_output=True, text=True)
            seconds.append(perf_counter() - start)
    # The largest of the children that have ended so far: grids come in the order of their size.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    jobs = next(int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("total "))
    return {"first": seconds[0], "again": seconds[1], "peak_mib": peak, "jobs": jobs}


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, nargs="+", default=list(GRIDS), choices=list(GRIDS), metavar="N")
    parser.add_argument("--json", type=Path, help="write the table to this file too")
    args = parser.parse_args(arguments)
    rows = []
    for models in [0, *sorted(args.models)]:
        name = f"{models:,} models" if models else "default study"
        rows.append({"name": name, **dry_runs(study(models))})
        line = "{name:>14}: {jobs:>4} jobs, {first:6.1f} s, again {again:6.1f} s, {peak_mib:5.0f} MiB"
        print(line.format(**rows[-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
