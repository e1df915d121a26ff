"""Choose a value of the tuned key for a pair of encoder and decoder.

Every value trains the pair once at each latent size, with a seed that is no model's; validation images decide.
"""

import argparse
import logging
import shutil

import torch

from vae import arguments as shared
from vae import grid, provenance
from vae.data.dataset import load
from vae.files import read_config, read_json
from vae.grid import Network, Spec
from vae.measures import trials, tuning
from vae.seeds import of_study
from vae.training import devices
from vae.training.recipe import Recipe

log = logging.getLogger(__name__)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The config, the dataset, the pair, and the JSON to write."""
    shared.add(
        parser, "--config", "--dataset", "--families", "--threads", "--jobs-per-gpu", "encoder", "decoder", "output"
    )


def run(args: argparse.Namespace) -> None:
    """Write the losses of every value, and which is chosen."""
    torch.set_num_threads(args.threads)
    config, dataset, facts = read_config(args.config), load(args.dataset), read_json(args.dataset.with_suffix(".json"))
    ((key, values),) = config["grid"]["tune"].items()
    pair = Network.parse(args.encoder), Network.parse(args.decoder)
    # A variant for each value, as if it were swept: a GPU trains those of a learning rate as one stack.
    recipes = {f"value{i}": Recipe.of(grid.varied(config, {key: x}), dataset.binarised) for i, x in enumerate(values)}
    sizes, kept = config["grid"]["latent_sizes"], args.output.with_suffix("")
    members = [(Spec(size, *pair, name), of_study("tuning")) for size in sizes for name in recipes]
    with devices.leased(devices.pick(config["device"]), args.jobs_per_gpu) as device:
        each = trials.validation_losses(members, dataset, facts, recipes, device, kept)
    losses = [each[index :: len(values)] for index in range(len(values))]
    numbers = {"key": key, "values": values, "losses": losses} | tuning.choose(values, losses)
    log.info("%s %s: %s", *pair, numbers)
    provenance.write(args.output, numbers, args.origin)
    shutil.rmtree(kept)
