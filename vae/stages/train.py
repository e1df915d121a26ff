"""Train models; on a GPU those of one encoder and decoder together.

An interrupted training resumes after its last completed epoch. What is kept of it is removed once all models of the job
are on disk, because Snakemake removes the files of a job that fails.
"""

import argparse

import torch

from vae import arguments as shared
from vae.data.dataset import load, subset
from vae.files import read_config, read_json
from vae.grid import parse_folder
from vae.measures import losses
from vae.training import checkpoint, devices, schedule
from vae.training.recipe import Recipe


def arguments(parser: argparse.ArgumentParser) -> None:
    """The config, the dataset, and the folders of models to write."""
    shared.add(parser, "--config", "--dataset", "--threads", "--jobs-per-gpu", "--done", "models")
    parser.add_argument(
        "--max-memory", type=int, metavar="MIB", help="memory to train in, of the device; what is free if not given"
    )


def run(args: argparse.Namespace) -> None:
    """Write weights, metrics, history and provenance of every model."""
    torch.set_num_threads(args.threads)
    config, facts, dataset = read_config(args.config), read_json(args.dataset.with_suffix(".json")), load(args.dataset)
    recipe, device = Recipe.of(config, dataset.binarised), devices.pick(config["device"])
    devices.set_arithmetic(recipe.training.precision)
    images = torch.from_numpy(subset(dataset.train_images, recipe.training.images))
    test_images = torch.from_numpy(dataset.test_images)
    constant = losses.constant_decoder(images, test_images, recipe.objective)
    members = [parse_folder(folder) for folder in args.models]
    limit = args.max_memory and args.max_memory * 2**20
    with devices.leased(device, args.jobs_per_gpu) as device:
        progress = [checkpoint.progress(folder, recipe, facts, device) for folder in args.models]
        kept = dict(zip(members, progress, strict=True))
        models = schedule.train_all(members, images.to(device), recipe, device, limit, kept)
        for folder, (spec, seed), trained in zip(args.models, members, models, strict=True):
            metrics = losses.measure(spec, seed, trained, test_images, recipe) | {"mean_image_reconstruction": constant}
            checkpoint.save(folder, trained, metrics, recipe, facts, args.origin_of(folder))
    for unfinished in progress:
        unfinished.remove()
