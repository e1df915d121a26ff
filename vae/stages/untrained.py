"""Measure the baseline of an encoder before it is trained: the classes in its codes."""

import argparse
from functools import cache, partial

import torch

from vae import arguments as shared
from vae import provenance
from vae.data.dataset import load
from vae.files import read_config
from vae.grid import Network, variants, varied
from vae.measures import baselines
from vae.models.networks import Networks


def arguments(parser: argparse.ArgumentParser) -> None:
    """The config, the dataset, how many images, the encoder, and the JSON to write."""
    shared.add(parser, "--config", "--dataset", "--threads", "--images", "--probe-images", "encoder", "output")


def run(args: argparse.Namespace) -> None:
    """Write the measures of probes by variant (those with networks of their own), latent size and seed."""
    torch.set_num_threads(args.threads)
    config = read_config(args.config)
    images = baselines.ProbeImages(load(args.dataset), args.probe_images, args.images)
    sizes, seeds = config["grid"]["latent_sizes"], config["training"]["seeds"]
    networks = {name: Networks(**varied(config, values)["networks"]) for name, values in variants(config).items()}
    measure = cache(partial(baselines.untrained, images, Network.parse(args.encoder), tuple(sizes), tuple(seeds)))
    numbers = {name: measure(of) for name, of in networks.items() if not name or of != networks[""]}
    provenance.write(args.output, numbers, args.origin)
