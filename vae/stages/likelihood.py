"""Bound log p(x) of test images with importance-weighted codes (IWAE)."""

import argparse
import logging

import torch

from vae import arguments as shared
from vae import provenance, seeds
from vae.data.dataset import load
from vae.grid import parse_folder
from vae.measures import likelihood
from vae.training import checkpoint, devices
from vae.training.objective import Objective

log = logging.getLogger(__name__)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The dataset, how many images, how many codes for each, and the folders of models."""
    shared.add(parser, "--dataset", "--threads", "--device", "--jobs-per-gpu", "--images", "--done", "models")
    parser.add_argument("--samples", type=int, required=True, help="codes per image")


def run(args: argparse.Namespace) -> None:
    """Write likelihood.json of every model."""
    torch.set_num_threads(args.threads)
    test_images = load(args.dataset).test_images
    images = torch.from_numpy(test_images[seeds.draw(len(test_images), args.images)])
    with devices.leased(devices.pick(args.device), args.jobs_per_gpu) as device:
        for folder in args.models:
            config = provenance.read(folder / "provenance.json")["config"]
            devices.set_arithmetic(config["training"]["precision"])
            model, (_, seed) = checkpoint.load(folder).to(device), parse_folder(folder)
            objective, draws = Objective(**config["objective"]), seeds.of_model("likelihood", seed)
            numbers = likelihood.measure(model, images, objective, args.samples, draws)
            facts = {"samples": args.samples, "images": len(images), "device": devices.describe(device)}
            provenance.write(folder / "likelihood.json", numbers | facts, args.origin_of(folder))
            log.info("%s: %s", folder, numbers | facts)
