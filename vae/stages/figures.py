"""Draw figures as PNG and PDF."""

import argparse
import logging
from pathlib import Path

from vae import arguments as shared
from vae.report import figures

log = logging.getLogger(__name__)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The results of a study, the folder to write to, and the figures."""
    shared.add(parser, "--dataset", "--results")
    parser.add_argument("folder", type=Path, help="the folder to write <figure>.png and <figure>.pdf to")
    parser.add_argument("names", nargs="+", choices=figures.FIGURES, metavar="figure", help="which figures")


def run(args: argparse.Namespace) -> None:
    """Write the figures in both formats."""
    study = figures.Study.read(args.results, args.dataset)
    for name in args.names:
        figures.save(figures.FIGURES[name](study), args.folder / f"{name}.png", args.folder / f"{name}.pdf")
        log.info("%s", name)
