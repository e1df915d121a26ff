"""Measure what the codes of images say of image and class, and their principal components.

Each measure is a module of `vae/measures/codes`.
"""

import argparse
import logging

import numpy as np

from vae import arguments as shared
from vae import provenance
from vae.data.dataset import load
from vae.files import write_npz
from vae.grid import parse_folder
from vae.measures.codes import MEASURES
from vae.measures.latents import read
from vae.seeds import draw

log = logging.getLogger(__name__)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The dataset, how many test images are compared with each other, and the folders of models."""
    shared.add(parser, "--dataset", "--images", "--done", "models")


def run(args: argparse.Namespace) -> None:
    """Write codes.json, the numbers, and codes.npz, the arrays, of every model."""
    dataset = load(args.dataset)
    scored = draw(len(dataset.test_images), args.images)
    for folder in args.models:
        _, seed = parse_folder(folder)
        latents = read(folder / "latents.npz", dataset, scored, seed)
        measured = {name: value for measure in MEASURES for name, value in measure(latents).items()}
        arrays = {name: value for name, value in measured.items() if isinstance(value, np.ndarray)}
        numbers = {name: value for name, value in measured.items() if name not in arrays}
        write_npz(folder / "codes.npz", **arrays)
        provenance.write(folder / "codes.json", numbers, args.origin_of(folder))
        log.info("%s: %s", folder, numbers)
