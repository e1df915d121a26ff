"""Test the paper's claims, and fit the linear model of effects."""

import argparse
from pathlib import Path

from vae import arguments as shared
from vae.analysis import effects, fidelity, table
from vae.analysis.claims import verdicts
from vae.files import write_text


def arguments(parser: argparse.ArgumentParser) -> None:
    """The tables of models and of the budget's fidelity, and the two tables to write."""
    shared.add(parser, "--table", "output")
    parser.add_argument("--fidelity", required=True, type=Path, help="fidelity.csv")
    parser.add_argument("effects", type=Path, help="effects.csv to write")


def run(args: argparse.Namespace) -> None:
    """Write claims.csv and effects.csv."""
    rows, budget = table.base(table.read(args.table)), table.read(args.fidelity, fidelity.COLUMNS)
    claims = verdicts.verdicts(rows).assign(at_this_budget=not fidelity.Fidelity.of(budget).converged)
    write_text(args.output, claims.to_csv(index=False))
    write_text(args.effects, effects.fit(rows).to_csv(index=False))
