"""Test the paper's claims, and fit the linear model of effects."""

import argparse
from pathlib import Path

from vae import arguments as shared
from vae.analysis import effects, table
from vae.analysis.claims import verdicts
from vae.files import write_text


def arguments(parser: argparse.ArgumentParser) -> None:
    """The table of models, and the two tables to write."""
    shared.add(parser, "--table", "output")
    parser.add_argument("effects", type=Path, help="effects.csv to write")


def run(args: argparse.Namespace) -> None:
    """Write claims.csv and effects.csv."""
    rows = table.read(args.table)
    write_text(args.output, verdicts.verdicts(rows).to_csv(index=False))
    write_text(args.effects, effects.fit(rows).to_csv(index=False))
