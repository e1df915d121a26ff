"""Measure the baselines of pixels: the classes in them and in their principal components, and the linear VAE."""

import argparse
from functools import cache, partial

from vae import arguments as shared
from vae import provenance
from vae.data.dataset import load
from vae.files import read_config
from vae.grid import variants, varied
from vae.measures import baselines, linear_vae


def arguments(parser: argparse.ArgumentParser) -> None:
    """The config, the dataset, how many images, and the JSON to write."""
    shared.add(parser, "--config", "--dataset", "--images", "--probe-images", "output")


def run(args: argparse.Namespace) -> None:
    """Write the measures of probes by what they are fitted on, and the spectra of the images by variant."""
    config, dataset = read_config(args.config), load(args.dataset)
    images = baselines.ProbeImages(dataset, args.probe_images, args.images)
    numbers = baselines.pixels(images, config["grid"]["latent_sizes"])
    objectives = {name: varied(config, values)["objective"] for name, values in variants(config).items()}
    noises = {name: (objective["likelihood"], objective["sigma"]) for name, objective in objectives.items()}
    measure = cache(partial(linear_vae.spectrum, dataset.seen_in_training()))
    spectra = {name: measure(*noise).tolist() for name, noise in noises.items() if not name or noise != noises[""]}
    provenance.write(args.output, numbers | {"spectra": spectra}, args.origin)
