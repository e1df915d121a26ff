"""Train a sentinel of the budget, a model of this pair, for twice as long as the study does.

What it gains, and whether the sentinels keep their order, says how far the study's ranks are from those of trained
models.
"""

import argparse
import logging
import shutil

import torch

from vae import arguments as shared
from vae import grid, provenance
from vae.data.dataset import load
from vae.files import read_config, read_json
from vae.grid import Spec
from vae.measures import trials, tuning
from vae.training import devices
from vae.training.recipe import Recipe

log = logging.getLogger(__name__)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The config, the dataset, what was tuned, if anything, the sentinel, and the JSON to write."""
    shared.add(parser, "--config", "--dataset", "--families", "--tuning", "--threads", "--jobs-per-gpu")
    parser.add_argument("label", help="the sentinel, such as L100_CNN4_CNN4")
    shared.add(parser, "output")


def run(args: argparse.Namespace) -> None:
    """Write what the sentinel loses on validation images, after twice the epochs."""
    torch.set_num_threads(args.threads)
    config, dataset, facts = read_config(args.config), load(args.dataset), read_json(args.dataset.with_suffix(".json"))
    config = tuning.applied(config, args.tuning)
    epochs, seed = config["training"]["epochs"], config["training"]["seeds"][0]
    with devices.leased(devices.pick(config["device"]), args.jobs_per_gpu) as device:
        recipes = {"": Recipe.of(grid.varied(config, {"training.epochs": 2 * epochs}), dataset.binarised)}
        kept = args.output.with_suffix("")
        (loss,) = trials.validation_losses([(Spec.parse(args.label), seed)], dataset, facts, recipes, device, kept)
    numbers = {"label": args.label, "seed": seed, "epochs": 2 * epochs, "validation_loss": loss}
    log.info("%s", numbers)
    provenance.write(args.output, numbers, args.origin)
    shutil.rmtree(kept)
