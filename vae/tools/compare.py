"""Compare two studies: their verdicts side by side, and the architectures whose ranks shift."""

import argparse
from pathlib import Path

from vae.analysis import comparison
from vae.files import write_text
from vae.report import figures, pages


def arguments(parser: argparse.ArgumentParser) -> None:
    """The two studies, and the folder to write."""
    parser.add_argument("results_a", type=Path, help="the results folder of a study")
    parser.add_argument("results_b", type=Path, help="the results folder of another study")
    parser.add_argument("--output", type=Path, default=Path("comparison"), help="folder to write (default: comparison)")


def run(args: argparse.Namespace) -> None:
    """Write the two tables, the figure, and the page that shows all."""
    first, second = (comparison.Study.read(results) for results in (args.results_a, args.results_b))
    verdicts, ranks = comparison.verdicts(first, second), comparison.ranks(first, second)
    picture = args.output / "shifted_ranks.png"
    figures.save(figures.shifted_ranks(ranks, first, second), picture, picture.with_suffix(".pdf"))
    write_text(args.output / "verdicts.csv", verdicts.to_csv(index=False))
    write_text(args.output / "ranks.csv", ranks.to_csv(index=False))
    write_text(args.output / "compare.html", pages.comparison(verdicts, first, second, picture))
    print(args.output / "compare.html")
