"""Draw every figure as PNG and PDF."""

import argparse
import logging
from pathlib import Path

from vae import arguments as shared
from vae.report import figures

log = logging.getLogger(__name__)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The results of a study, and the folder to write to."""
    shared.add(parser, "--dataset", "--results")
    parser.add_argument("folder", type=Path, help="the folder to write <figure>.png and <figure>.pdf to")


def run(args: argparse.Namespace) -> None:
    """Write every figure in both formats."""
    study = figures.Study.read(args.results, args.dataset)
    for name, draw in figures.FIGURES.items():
        figures.save(draw(study), args.folder / f"{name}.png", args.folder / f"{name}.pdf")
        log.info("%s", name)
