"""Write the page of claims, with the figures that show them."""

import argparse
from pathlib import Path

from vae import arguments as shared
from vae.analysis import effects, fidelity, table
from vae.analysis.claims import verdicts
from vae.files import write_text
from vae.report import pages


def arguments(parser: argparse.ArgumentParser) -> None:
    """The tables, the page to write, and the figures to show."""
    shared.add(parser, "--table", "output")
    parser.add_argument("--claims", type=Path, required=True, help="claims.csv")
    parser.add_argument("--effects", type=Path, required=True, help="effects.csv")
    parser.add_argument("--fidelity", type=Path, required=True, help="fidelity.csv")
    parser.add_argument("figures", type=Path, nargs="*", help="figures to show, as PNG")


def run(args: argparse.Namespace) -> None:
    """Write claims.html."""
    claims, rows = verdicts.read(args.claims), table.base(table.read(args.table))
    budget, shares = table.read(args.fidelity, fidelity.COLUMNS), table.read(args.effects, effects.COLUMNS)
    write_text(args.output, pages.claims(claims, rows, budget, shares, args.figures))
