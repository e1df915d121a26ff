"""Gather all models in one table, rank the architectures, and count the architectures in the top quartile."""

import argparse
from pathlib import Path

from vae import arguments as shared
from vae.analysis import ranking, table
from vae.files import read_config, write_text
from vae.grid import expand


def arguments(parser: argparse.ArgumentParser) -> None:
    """The config, the folders of models and baselines, and the three tables to write."""
    shared.add(parser, "--config", "--models", "--baselines", "--table")
    parser.add_argument("--architectures", required=True, type=Path, help="architectures.csv to write")
    parser.add_argument("--counts", required=True, type=Path, help="counts.csv to write")


def run(args: argparse.Namespace) -> None:
    """Write models.csv, architectures.csv and counts.csv."""
    config = read_config(args.config)
    specs, seeds = expand(config["grid"]), config["training"]["seeds"]
    table.check(args.models, specs, seeds, config)
    rows = table.gather(args.models, args.baselines, specs, seeds, config["evaluation"])
    architectures = ranking.by_architecture(rows)
    write_text(args.table, rows.to_csv(index=False))
    write_text(args.architectures, architectures.to_csv(index=False))
    write_text(args.counts, ranking.counts(architectures).to_csv(index=False))
