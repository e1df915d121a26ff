"""Write a trained model as a folder to publish: a card, weights, ONNX graphs with test data, and hashes of all."""

import argparse
from pathlib import Path

from export.bundle import bundle
from vae.analysis import table
from vae.errors import UserError
from vae.grid import parse_folder


def arguments(parser: argparse.ArgumentParser) -> None:
    """The folder of a model in a study, and the folder to write."""
    parser.add_argument("model", type=Path, help="the folder of a model, <results>/models/<label>/seed<k>")
    parser.add_argument("output", type=Path, help="the folder to write, which must not exist")


def run(args: argparse.Namespace) -> None:
    """Write the folder, and print its name."""
    (spec, seed), folder = parse_folder(args.model), args.model.absolute()
    results = folder.parents[2]
    rows = table.read(results / "tables/models.csv")
    found = rows[(rows["label"] == str(spec)) & (rows["seed"] == seed)]
    if found.empty:
        raise UserError(f"{results}/tables/models.csv: has no model {spec}, seed {seed}")
    bundle(folder, args.output, found.iloc[0], results)
    print(args.output)
