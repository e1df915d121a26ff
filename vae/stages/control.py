"""Train the autoencoder of a pair, whose codes have neither noise nor a KLD.

It is a control: where it reconstructs badly too, the fault is in the networks or in their training, and not in the
objective.
"""

import argparse
import logging
import shutil

import torch

from vae import arguments as shared
from vae import provenance
from vae.data.dataset import load
from vae.files import read_config, read_json
from vae.grid import Network, Spec
from vae.measures import losses, trials, tuning
from vae.training import devices
from vae.training.recipe import Recipe

log = logging.getLogger(__name__)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The config, the dataset, what was tuned, if anything, the pair, and the JSON to write."""
    shared.add(parser, "--config", "--dataset", "--families", "--tuning", "--threads", "--jobs-per-gpu")
    shared.add(parser, "encoder", "decoder", "output")


def run(args: argparse.Namespace) -> None:
    """Write what the autoencoder of every latent size loses on test images, trained with the first seed."""
    torch.set_num_threads(args.threads)
    config, dataset, facts = read_config(args.config), load(args.dataset), read_json(args.dataset.with_suffix(".json"))
    recipe = Recipe.of(tuning.applied(config, args.tuning), dataset.binarised).autoencoder
    seed, sizes = config["training"]["seeds"][0], config["grid"]["latent_sizes"]
    pair = Network.parse(args.encoder), Network.parse(args.decoder)
    test, kept = torch.from_numpy(dataset.test_images), args.output.with_suffix("")
    members = [(Spec(size, *pair), seed) for size in sizes]
    with devices.leased(devices.pick(config["device"]), args.jobs_per_gpu) as device:
        values = [
            losses.evaluate(trained.model, test, recipe.objective, 0, deterministic=True)["reconstruction"]
            if trained.status == "ok"
            else None
            for _, trained in trials.train(members, dataset, facts, {"": recipe}, device, kept)
        ]
    numbers = {"seed": seed, "reconstruction": dict(zip(map(str, sizes), values, strict=True))}
    log.info("%s_%s: %s", args.encoder, args.decoder, numbers)
    provenance.write(args.output, numbers, args.origin)
    shutil.rmtree(kept)
