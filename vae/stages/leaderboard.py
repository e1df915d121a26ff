"""Write the table of models as an HTML page that sorts by any column."""

import argparse

from vae import arguments as shared
from vae.analysis import table
from vae.files import read_json, write_text
from vae.report import pages


def arguments(parser: argparse.ArgumentParser) -> None:
    """The dataset, the table, and the page to write."""
    shared.add(parser, "--dataset", "--table", "output")


def run(args: argparse.Namespace) -> None:
    """Write leaderboard.html."""
    write_text(args.output, pages.leaderboard(table.read(args.table), read_json(args.dataset.with_suffix(".json"))))
