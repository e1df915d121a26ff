"""Train a classifier of the dataset, in whose features samples are compared with images.

A dataset without labels has none: then the files say so.
"""

import argparse
import logging

import numpy as np
import torch

from export.graphs import export_features
from vae import arguments as shared
from vae import provenance
from vae.data.dataset import load
from vae.files import write_npz
from vae.measures import classifier, frechet

log = logging.getLogger(__name__)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The dataset, how many samples models are compared by, and the .npz to write; a JSON is written beside it."""
    shared.add(parser, "--dataset", "--threads", "--samples", "output")


def run(args: argparse.Namespace) -> None:
    """Write the graph of the features and their moments on the test images, and the baselines of the distance."""
    torch.set_num_threads(args.threads)
    dataset = load(args.dataset)
    if dataset.train_labels is None or dataset.test_labels is None:
        write_npz(args.output)
        provenance.write(args.output.with_suffix(".json"), {"classifier_accuracy": None}, args.origin)
        return
    model = classifier.train(dataset.seen_in_training(), dataset.train_labels)
    moments = frechet.moments(classifier.features(model, dataset.test_images))
    numbers = classifier.baselines(model, dataset, moments, args.samples)
    numbers["classifier_accuracy"] = classifier.accuracy(model, dataset.test_images, dataset.test_labels)
    log.info("classifier: %s", numbers)
    graph = np.frombuffer(export_features(model.features, dataset.test_images), np.uint8)
    write_npz(args.output, graph=graph, mean=moments.mean, covariance=moments.covariance)
    provenance.write(args.output.with_suffix(".json"), numbers, args.origin)
