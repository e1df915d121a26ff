"""Measure the baselines of pixels: the classes in them and in their principal components, and the linear VAE."""

import argparse

from vae import arguments as shared
from vae import provenance
from vae.data.dataset import load
from vae.files import read_config
from vae.measures import baselines, linear_vae


def arguments(parser: argparse.ArgumentParser) -> None:
    """The config, the dataset, how many images, and the JSON to write."""
    shared.add(parser, "--config", "--dataset", "--images", "--probe-images", "output")


def run(args: argparse.Namespace) -> None:
    """Write the measures of probes by what they are fitted on, and the spectrum of the images."""
    config, dataset = read_config(args.config), load(args.dataset)
    images = baselines.ProbeImages(dataset, args.probe_images, args.images)
    numbers = baselines.pixels(images, config["grid"]["latent_sizes"])
    objective = config["objective"]
    spectrum = linear_vae.spectrum(dataset.seen_in_training(), objective["likelihood"], objective["sigma"])
    provenance.write(args.output, numbers | {"spectrum": spectrum.tolist()}, args.origin)
