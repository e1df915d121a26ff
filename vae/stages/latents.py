"""Encode the test set and training images with the exported encoder, and decode a few examples."""

import argparse
import logging

from export import runtime
from vae import arguments as shared
from vae.data.dataset import load
from vae.files import write_npz
from vae.grid import parse_folder
from vae.seeds import draw

log = logging.getLogger(__name__)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The dataset, how many training images probes are fitted on, and the folders of models."""
    shared.add(parser, "--dataset", "--threads", "--probe-images", "--done", "models")


def run(args: argparse.Namespace) -> None:
    """Write latents.npz and examples.npz of every model."""
    dataset = load(args.dataset)
    indices = draw(len(dataset.train_images), args.probe_images)
    train_images = dataset.seen_in_training(indices)
    for folder in args.models:
        encoder = runtime.open_session(folder / "encoder.onnx", args.threads)
        train_mean, _ = runtime.run(encoder, train_images)
        mean, log_variance = runtime.run(encoder, dataset.test_images)
        write_npz(
            folder / "latents.npz",
            mean=mean,
            log_variance=log_variance,
            train_mean=train_mean,
            train_indices=indices,
            command=args.origin_of(folder).command,
        )
        _, seed = parse_folder(folder)
        examples = runtime.examples(folder, mean, log_variance, dataset.test_labels, seed, args.threads)
        write_npz(folder / "examples.npz", **examples)
        log.info("%s: %d test images encoded", folder, len(mean))
