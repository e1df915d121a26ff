"""Test the claims, and measure the effect of every choice of an architecture."""

import argparse
from pathlib import Path

from vae import arguments as shared
from vae.analysis import effects, fidelity, rate_distortion, swap, table
from vae.analysis.claims import verdicts
from vae.files import write_text

# Processors differ after some twelve digits; to nine, all of them give the same bytes.
DIGITS = "%.9g"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The tables of models, of the budget's fidelity and of the encoder swap, and the tables to write."""
    shared.add(parser, "--table", "output")
    parser.add_argument("--fidelity", required=True, type=Path, help="fidelity.csv")
    parser.add_argument("--swap", required=True, type=Path, help="swap.csv")
    parser.add_argument("effects", type=Path, help="effects.csv to write")
    parser.add_argument("means", type=Path, help="means.csv to write")
    parser.add_argument("rate_distortion", type=Path, help="rate_distortion.csv to write")


def run(args: argparse.Namespace) -> None:
    """Write claims.csv, effects.csv, means.csv and rate_distortion.csv."""
    models = table.read(args.table)
    rows, budget = table.base(models), table.read(args.fidelity, fidelity.COLUMNS)
    swapped = table.read(args.swap, swap.COLUMNS)
    claims = verdicts.verdicts(rows, swapped, rate_distortion.by_seed(models))
    claims = claims.assign(at_this_budget=not fidelity.Fidelity.of(budget).converged)
    write_text(args.output, claims.to_csv(index=False, float_format=DIGITS))
    write_text(args.effects, effects.shares(rows).to_csv(index=False, float_format=DIGITS))
    write_text(args.means, effects.means(rows).to_csv(index=False, float_format=DIGITS))
    write_text(args.rate_distortion, rate_distortion.table(models).to_csv(index=False, float_format=DIGITS))
