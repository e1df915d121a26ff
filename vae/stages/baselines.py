"""Measure the baselines: pixels, their principal components, the linear VAE, untrained encoders, the true entropy."""

import argparse
from collections.abc import Callable, Hashable, Mapping
from functools import cache, partial
from pathlib import Path

import torch

from vae import arguments as shared
from vae import provenance
from vae.data.dataset import Dataset, load
from vae.files import read_config
from vae.grid import Network, variants, varied
from vae.measures import baselines, linear_vae
from vae.models.networks import Networks


def arguments(parser: argparse.ArgumentParser) -> None:
    """The config, the dataset, how many images, and the three JSONs to write."""
    shared.add(parser, "--config", "--dataset", "--families", "--threads", "--images", "--probe-images")
    parser.add_argument("pixels", type=Path, help="pixels.json to write")
    parser.add_argument("untrained", type=Path, help="untrained.json to write")
    parser.add_argument("truth", type=Path, help="truth.json to write")


def run(args: argparse.Namespace) -> None:
    """Write pixels.json, with the spectra of the images by variant; untrained.json, by encoder; and truth.json."""
    torch.set_num_threads(args.threads)
    config, dataset = read_config(args.config), load(args.dataset)
    images = baselines.ProbeImages(dataset, args.probe_images, args.images)
    pixels = baselines.pixels(images, config["grid"]["latent_sizes"])
    provenance.write(args.pixels, pixels | {"spectra": _spectra(config, dataset)}, args.origin)
    provenance.write(args.untrained, _untrained(config, images), args.origin)
    provenance.write(args.truth, baselines.truth(dataset), args.origin)


def _spectra(config: dict, dataset: Dataset) -> dict[str, list[float]]:
    """The spectrum of the images under the noise of every variant."""
    objectives = {name: varied(config, values)["objective"] for name, values in variants(config).items()}
    noises = {name: (objective["likelihood"], objective["sigma"]) for name, objective in objectives.items()}
    images = dataset.seen_in_training()
    return _by_variant(noises, lambda noise: linear_vae.spectrum(images, *noise).tolist())


def _untrained(config: dict, images: baselines.ProbeImages) -> dict[str, dict]:
    """The measures of probes of every encoder, by variant, latent size and seed."""
    networks = {name: Networks(**varied(config, values)["networks"]) for name, values in variants(config).items()}
    grid, seeds = config["grid"], config["training"]["seeds"]
    return {
        encoder: _by_variant(
            networks, partial(baselines.untrained, images, Network.parse(encoder), grid["latent_sizes"], seeds)
        )
        for encoder in grid["encoders"]
    }


def _by_variant(kinds: Mapping[str, Hashable], measure: Callable) -> dict:
    """The measures of the kind of each variant, except for variants of the config's own kind."""
    measured = cache(measure)
    return {name: measured(kind) for name, kind in kinds.items() if not name or kind != kinds[""]}
