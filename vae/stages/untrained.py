"""Measure the baseline of an encoder before it is trained: the classes in its codes."""

import argparse

import torch

from vae import arguments as shared
from vae import provenance
from vae.data.dataset import load
from vae.files import read_config
from vae.grid import Network
from vae.measures import baselines
from vae.models.widths import Widths


def arguments(parser: argparse.ArgumentParser) -> None:
    """The config, the dataset, how many images, the encoder, and the JSON to write."""
    shared.add(parser, "--config", "--dataset", "--threads", "--images", "--probe-images", "encoder", "output")


def run(args: argparse.Namespace) -> None:
    """Write the measures of probes by latent size and seed."""
    torch.set_num_threads(args.threads)
    config = read_config(args.config)
    images = baselines.ProbeImages(load(args.dataset), args.probe_images, args.images)
    sizes, seeds = config["grid"]["latent_sizes"], config["training"]["seeds"]
    numbers = baselines.untrained(images, Network.parse(args.encoder), sizes, seeds, Widths(**config["networks"]))
    provenance.write(args.output, numbers, args.origin)
