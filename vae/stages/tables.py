"""Gather all models in one table, rank the architectures, and count those in the top quartile."""

import argparse
from pathlib import Path

from vae import arguments as shared
from vae.analysis import fidelity, ranking, swap, table
from vae.files import read_config, write_text


def arguments(parser: argparse.ArgumentParser) -> None:
    """The config, the folder of results, and the tables to write."""
    shared.add(parser, "--config", "--results", "--table")
    parser.add_argument("--architectures", required=True, type=Path, help="architectures.csv to write")
    parser.add_argument("--counts", required=True, type=Path, help="counts.csv to write")
    parser.add_argument("--fidelity", required=True, type=Path, help="fidelity.csv to write")
    parser.add_argument("--swap", required=True, type=Path, help="swap.csv to write")


def run(args: argparse.Namespace) -> None:
    """Write models.csv, architectures.csv, counts.csv, fidelity.csv and swap.csv."""
    config = read_config(args.config)
    table.check(args.results, config)
    rows = table.gather(args.results, config)
    architectures = ranking.by_architecture(table.base(rows))
    write_text(args.table, rows.to_csv(index=False))
    write_text(args.architectures, architectures.to_csv(index=False))
    write_text(args.fidelity, fidelity.gather(args.results, config, rows).to_csv(index=False))
    write_text(args.swap, swap.gather(args.results, config, table.base(rows)).to_csv(index=False))
    write_text(args.counts, ranking.counts(architectures).to_csv(index=False))
