"""Write encoders in 8-bit integers, and measure their accuracy and speed."""

import argparse
import logging

from export import runtime
from export.quantise import FILES, described, quantise, times_as_fast
from vae import arguments as shared
from vae import provenance
from vae.data.dataset import load
from vae.files import read_json
from vae.grid import parse_folder
from vae.measures import quantisation
from vae.measures.latents import read
from vae.seeds import draw

log = logging.getLogger(__name__)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The dataset, how many test images the cost is measured on, and the folders of models."""
    shared.add(parser, "--dataset", "--threads", "--images", "--done", "models")


def run(args: argparse.Namespace) -> None:
    """Write encoder.int8.onnx, and encoder.int8.json, the cost, of every model."""
    dataset = load(args.dataset)
    scored = draw(len(dataset.test_images), args.images)
    for folder in args.models:
        _, seed = parse_folder(folder)
        exact = read(folder / "latents.npz", dataset, scored, seed)
        validation = dataset.validation_images[exact.fit_indices]
        quantise(folder, validation)
        session = runtime.open_session(folder / FILES["int8"], args.threads)
        fit_mean, _ = runtime.run(session, validation)
        mean, log_variance = runtime.run(session, dataset.test_images[scored])
        accuracies = read_json(folder / "codes.json")
        numbers = quantisation.measure(exact, fit_mean, mean, log_variance, accuracies) | described(folder)
        numbers["times_as_fast"] = times_as_fast(folder, dataset.test_images[scored], args.threads)
        provenance.write(folder / "encoder.int8.json", numbers, args.origin_of(folder))
        log.info("%s: %s", folder, numbers)
