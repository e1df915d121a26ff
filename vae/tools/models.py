"""List the models of a study with their ranks, best first."""

import argparse
from pathlib import Path

from vae.analysis import table
from vae.grid import Spec, folder

COLUMNS = ["rank", "label", "seed", "reconstruction", "kld", "elbo", "collapsed", "status", "folder"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The folder of a study."""
    parser.add_argument("results", type=Path, nargs="?", default=Path("results"), help="the folder of a study")


def run(args: argparse.Namespace) -> None:
    """Print a line for each model."""
    rows = table.read(args.results / "tables/models.csv")
    labels_and_seeds = zip(rows["label"], rows["seed"], strict=True)
    rows["folder"] = [str(folder(args.results / "models", Spec.parse(label), seed)) for label, seed in labels_and_seeds]
    print(rows[COLUMNS].to_string(index=False, float_format="{:.2f}".format))
