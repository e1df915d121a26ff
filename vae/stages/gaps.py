"""Measure the inference gaps of models: between log p(x) and the ELBO that their encoders reach."""

import argparse
import logging
from pathlib import Path

import numpy as np
import torch

from vae import arguments as shared
from vae import provenance, seeds
from vae.data.amounts import check_gaps
from vae.data.dataset import Dataset, load
from vae.data.sprites import SPRITES
from vae.files import write_npz
from vae.grid import parse_folder
from vae.measures import gaps
from vae.training import checkpoint, devices
from vae.training.objective import Objective

log = logging.getLogger(__name__)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The dataset, how many images the gaps are measured on, and the folders of models."""
    shared.add(parser, "--dataset", "--families", "--threads", "--device", "--jobs-per-gpu", "--done", "models")
    parser.add_argument("--images", type=int, required=True, help="how many test images, and as many training images")


def run(args: argparse.Namespace) -> None:
    """Write gaps.json, means and their standard errors, and gaps.npz, the values of every image, of every model."""
    torch.set_num_threads(args.threads)
    dataset = load(args.dataset)
    sets, sprites = _sets(dataset, args.images), SPRITES.get(dataset.name)
    truth = torch.from_numpy(sprites.log_probabilities(sets["test"].numpy())) if sprites else None
    with devices.leased(devices.pick(args.device), args.jobs_per_gpu) as device:
        for folder in args.models:
            numbers, arrays = _measured(folder, sets, truth, device)
            write_npz(folder / "gaps.npz", **arrays)
            provenance.write(folder / "gaps.json", {"images": args.images} | numbers, args.origin_of(folder))
            log.info("%s: %s", folder, numbers)


def _sets(dataset: Dataset, count: int) -> dict[str, torch.Tensor]:
    """So many test images, and so many training images as models see them: the first that all are trained on."""
    totals = len(dataset.train_images), len(dataset.test_images)
    check_gaps(count, *totals)
    trained, tested = (np.sort(seeds.draw(total, count)) for total in totals)
    sets = {"test": dataset.test_images[tested], "train": dataset.seen_in_training(trained)}
    return {name: torch.from_numpy(images) for name, images in sets.items()}


def _measured(
    folder: Path, sets: dict[str, torch.Tensor], truth: torch.Tensor | None, device: torch.device
) -> tuple[dict, dict]:
    """The numbers of a model, and the values of every image; empty, with the reason, where it has no gaps.

    `truth` is log p*(x) of the test images, where that is known.
    """
    spec, seed = parse_folder(folder)
    if spec.variant:
        return gaps.NONE | {"reason": "a sweep adds this model; gaps are measured of models without a variant"}, {}
    objective = Objective(**provenance.read(folder / "provenance.json")["config"]["objective"])
    beta = float(objective.effective_beta(sets["test"][0].numel(), spec.latent_size))
    if provenance.read(folder / "metrics.json")["status"] != "ok":
        return gaps.NONE | {"reason": "the model diverged"}, {}
    if not beta:
        return gaps.NONE | {"reason": "beta is 0: the best code of an image is a point, and has no evidence"}, {}
    inference = gaps.Inference(checkpoint.load(folder).to(device), objective, beta, seeds.of_model("gaps", seed))
    measured = {name: inference.gaps(images) for name, images in sets.items()}
    arrays = {
        f"{name}_{what}": values.numpy(force=True)
        for name, of in measured.items()
        for what, values in (of.named | {"effective_codes": of.effective}).items()
    }
    numbers = gaps.summary(**measured)
    if truth is not None and beta == 1:  # at another weight of the KLD the evidence is not log p(x)
        numbers |= gaps.misfit(measured["test"], truth)
    return numbers, arrays
