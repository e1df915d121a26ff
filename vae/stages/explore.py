"""Write the page to explore a study."""

import argparse

from vae import arguments as shared
from vae.files import write_text
from vae.report.explore import page


def arguments(parser: argparse.ArgumentParser) -> None:
    """The results of a study, and the page to write."""
    shared.add(parser, "--dataset", "--results", "output")


def run(args: argparse.Namespace) -> None:
    """Write explore.html."""
    write_text(args.output, page.of_study(args.results, args.dataset))
