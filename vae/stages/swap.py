"""Refit every encoder of a study to trained decoders, which are frozen.

Encoders that are refitted to the same decoder differ by their amortisation gap alone; decoders to which all encoders
are refitted differ by what they learned with their own encoders (Cremer, Li & Duvenaud 2018).
"""

import argparse
import logging
import shutil
from pathlib import Path

import torch

from vae import arguments as shared
from vae import provenance
from vae.data.dataset import load
from vae.files import read_config, read_json
from vae.grid import Network
from vae.measures import swap, tuning
from vae.training import devices
from vae.training.recipe import Recipe

log = logging.getLogger(__name__)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The config, the dataset, what was tuned, if anything, the models of the decoders, and the JSON to write."""
    shared.add(parser, "--config", "--dataset", "--families", "--tuning", "--threads", "--jobs-per-gpu", "models")
    parser.add_argument("--output", type=Path, required=True, help="the JSON to write")


def run(args: argparse.Namespace) -> None:
    """Write what every encoder loses with every decoder, on test and on training images."""
    torch.set_num_threads(args.threads)
    config, dataset, facts = read_config(args.config), load(args.dataset), read_json(args.dataset.with_suffix(".json"))
    recipe = Recipe.of(tuning.applied(config, args.tuning), dataset.binarised)
    kept, fitted = args.output.with_suffix(""), []
    with devices.leased(devices.pick(config["device"]), args.jobs_per_gpu) as device:
        donors = swap.Donors(dataset, facts, recipe, device, kept)
        for folder in args.models:
            for encoder in map(Network.parse, config["grid"]["encoders"]):
                fitted.append(donors.fit(folder, encoder))
                log.info("%s", fitted[-1])
    provenance.write(args.output, {"fitted": fitted}, args.origin)
    shutil.rmtree(kept, ignore_errors=True)
