"""Show where the numbers of a model come from: command, source and versions, and whether its files are unchanged."""

import argparse
from pathlib import Path

import yaml

from vae import provenance


def arguments(parser: argparse.ArgumentParser) -> None:
    """The folder of a model."""
    parser.add_argument("model", type=Path, help="the folder of a model, <anything>/<label>/seed<k>")


def run(args: argparse.Namespace) -> None:
    """Print the facts as YAML, and the commands that reproduce the files."""
    facts = provenance.of_model(args.model)
    commands = facts.pop("commands")
    print(yaml.safe_dump(facts, sort_keys=False, width=120))
    print("# To reproduce them, run in the folder of the study:")
    for command, names in commands.items():
        print(f"{command}  # {', '.join(names)}")
