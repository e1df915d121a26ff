"""Draw one figure as PNG and PDF."""

import argparse
from pathlib import Path

from vae import arguments as shared
from vae.report import figures


def arguments(parser: argparse.ArgumentParser) -> None:
    """The results of a study, which figure, and the files to write."""
    shared.add(parser, "--dataset", "--results")
    parser.add_argument("name", help="which figure")
    parser.add_argument("png", type=Path)
    parser.add_argument("pdf", type=Path)


def run(args: argparse.Namespace) -> None:
    """Write the figure in both formats."""
    draw = figures.FIGURES[args.name]
    figures.save(draw(figures.Study.read(args.results, args.dataset)), args.png, args.pdf)
