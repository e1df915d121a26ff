"""Measure exported models: their codes, their samples from the prior, and the IWAE bound on log p(x)."""

import argparse
import logging
from pathlib import Path

import numpy as np
import torch

from export import runtime
from vae import arguments as shared
from vae import provenance, seeds
from vae.data.dataset import Dataset, binarise, load
from vae.files import read_npz, write_npz
from vae.grid import parse_folder
from vae.measures import frechet, latents, likelihood
from vae.measures.codes import MEASURES
from vae.training import checkpoint
from vae.training.objective import Objective

log = logging.getLogger(__name__)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The dataset, the classifier, on how much each measure is taken, and the folders of models."""
    shared.add(
        parser, "--dataset", "--families", "--threads", "--images", "--probe-images", "--samples", "--done", "models"
    )
    parser.add_argument("--classifier", type=Path, required=True, help="classifier.npz, as `classifier` writes it")
    parser.add_argument("--likelihood-samples", type=int, required=True, help="codes per image of the IWAE bound")
    parser.add_argument("--likelihood-images", type=int, help="test images of that bound (default: all)")


def run(args: argparse.Namespace) -> None:
    """Write what is measured of every model: latents, examples, numbers of its codes, samples and likelihood."""
    torch.set_num_threads(args.threads)
    dataset = load(args.dataset)
    classifier = read_npz(args.classifier, optional=("graph", "mean", "covariance"))
    for folder in args.models:
        _latents(folder, dataset, args)
        _codes(folder, dataset, args)
        _samples(folder, dataset, classifier, args)
        _likelihood(folder, dataset, args)


def _latents(folder: Path, dataset: Dataset, args: argparse.Namespace) -> None:
    """Write latents.npz, of the test set and of validation images, and examples.npz."""
    indices = seeds.draw(len(dataset.validation_images), args.probe_images)
    encoder = runtime.open_session(folder / "encoder.onnx", args.threads)
    fit_mean, fit_log_variance = runtime.run(encoder, dataset.validation_images[indices])
    mean, log_variance = runtime.run(encoder, dataset.test_images)
    write_npz(
        folder / "latents.npz",
        mean=mean,
        log_variance=log_variance,
        fit_mean=fit_mean,
        fit_log_variance=fit_log_variance,
        fit_indices=indices,
    )
    _, seed = parse_folder(folder)
    examples = runtime.examples(folder, mean, log_variance, dataset.test_labels, seed, args.threads)
    write_npz(folder / "examples.npz", **examples)
    log.info("%s: %d test images encoded", folder, len(mean))


def _codes(folder: Path, dataset: Dataset, args: argparse.Namespace) -> None:
    """Write codes.json, the numbers, and codes.npz, the arrays, of all measures of `vae.measures.codes`."""
    _, seed = parse_folder(folder)
    scored = seeds.draw(len(dataset.test_images), args.images)
    codes = latents.read(folder / "latents.npz", dataset, scored, seed)
    measured = {name: value for measure in MEASURES for name, value in measure(codes).items()}
    arrays = {name: value for name, value in measured.items() if isinstance(value, np.ndarray)}
    write_npz(folder / "codes.npz", **arrays)
    _write(folder / "codes.json", {name: value for name, value in measured.items() if name not in arrays}, args)


def _samples(folder: Path, dataset: Dataset, classifier: dict[str, np.ndarray], args: argparse.Namespace) -> None:
    """Write samples.json, the FID-style distance to the test images; without a classifier there is no distance."""
    distance = None
    if classifier:
        _, seed = parse_folder(folder)
        images = runtime.prior_samples(folder, args.samples, seed, args.threads)
        images = binarise(images, seeds.of_model("prior_pixels", seed)) if dataset.binarised else images
        session = runtime.open_session(classifier["graph"].tobytes(), args.threads)
        (features,) = runtime.run(session, images)
        of_images = frechet.Moments(classifier["mean"], classifier["covariance"])
        distance = frechet.distance(frechet.moments(features), of_images)
    _write(folder / "samples.json", {"samples": args.samples, "frechet_distance": distance}, args)


def _likelihood(folder: Path, dataset: Dataset, args: argparse.Namespace) -> None:
    """Write likelihood.json, the IWAE bound."""
    _, seed = parse_folder(folder)
    objective = Objective(**provenance.read(folder / "provenance.json")["config"]["objective"])
    chosen = seeds.draw(len(dataset.test_images), args.likelihood_images)
    images, draws = torch.from_numpy(dataset.test_images[chosen]), seeds.of_model("likelihood", seed)
    numbers = likelihood.measure(checkpoint.load(folder), images, objective, args.likelihood_samples, draws)
    facts = {"samples": args.likelihood_samples, "images": len(images)}
    _write(folder / "likelihood.json", numbers | facts, args)


def _write(path: Path, numbers: dict, args: argparse.Namespace) -> None:
    provenance.write(path, numbers, args.origin_of(path.parent))
    log.info("%s: %s", path, numbers)
