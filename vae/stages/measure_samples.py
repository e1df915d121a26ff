"""Measure the FID-style distance of draws from the prior, decoded by the exported decoder, to the test images."""

import argparse
import logging
from pathlib import Path

from export import runtime
from vae import arguments as shared
from vae import provenance
from vae.data.dataset import binarise
from vae.files import read_json, read_npz
from vae.grid import parse_folder
from vae.measures import frechet
from vae.seeds import of_model

log = logging.getLogger(__name__)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The dataset, the classifier, how many draws, and the folders of models."""
    shared.add(parser, "--dataset", "--threads", "--samples", "--done", "models")
    parser.add_argument("--classifier", type=Path, required=True, help="classifier.npz, as `classifier` writes it")


def run(args: argparse.Namespace) -> None:
    """Write samples.json of every model; without a classifier there is no distance."""
    binarised = read_json(args.dataset.with_suffix(".json"))["binarised"]
    classifier = read_npz(args.classifier, optional=("graph", "mean", "covariance"))
    session = runtime.open_session(classifier["graph"].tobytes(), args.threads) if classifier else None
    for folder in args.models:
        distance = None
        if session:
            _, seed = parse_folder(folder)
            images = runtime.prior_samples(folder, args.samples, seed, args.threads)
            images = binarise(images, of_model("prior_pixels", seed)) if binarised else images
            (features,) = runtime.run(session, images)
            of_images = frechet.Moments(classifier["mean"], classifier["covariance"])
            distance = frechet.distance(frechet.moments(features), of_images)
        numbers = {"samples": args.samples, "frechet_distance": distance}
        provenance.write(folder / "samples.json", numbers, args.origin_of(folder))
        log.info("%s: FID-style distance %s", folder, distance)
