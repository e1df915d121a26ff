"""Train models; on a GPU those of one encoder and decoder together.

An interrupted training resumes after its last completed epoch. What is kept of it is removed once all models of the job
are on disk, because Snakemake removes the files of a job that fails.
"""

import argparse
import json
from functools import cache, partial

import torch

from vae import arguments as shared
from vae.data.dataset import load, subset
from vae.files import read_config, read_json
from vae.grid import parse_folder
from vae.measures import losses, tuning
from vae.training import checkpoint, devices, schedule
from vae.training.recipe import Recipe
from vae.training.state import Progress


def arguments(parser: argparse.ArgumentParser) -> None:
    """The config, the dataset, what was tuned, if anything, and the folders of models to write."""
    shared.add(
        parser, "--config", "--dataset", "--families", "--tuning", "--threads", "--jobs-per-gpu", "--done", "models"
    )
    parser.add_argument(
        "--sweep", default="{}", help="the keys and values that the study sweeps, as JSON (default: none)"
    )
    parser.add_argument(
        "--max-memory", type=int, metavar="MIB", help="memory of the device to train in (default: all that is free)"
    )


def run(args: argparse.Namespace) -> None:
    """Write weights, metrics, history and provenance of every model."""
    torch.set_num_threads(args.threads)
    config, facts, dataset = read_config(args.config), read_json(args.dataset.with_suffix(".json")), load(args.dataset)
    config = tuning.applied(config | {"grid": {"sweep": json.loads(args.sweep)}}, args.tuning)
    recipes = Recipe.of_variants(config, dataset.binarised)
    fewest = min((recipe.training.images for recipe in recipes.values() if recipe.training.images), default=None)
    sets, limit = losses.Sets(dataset, fewest), args.max_memory and args.max_memory * 2**20
    unfinished: list[Progress] = []
    members = {parse_folder(folder): folder for folder in args.models}
    with devices.leased(devices.pick(config["device"]), args.jobs_per_gpu) as device:
        for recipe, alike in schedule.alike(list(members), recipes):
            devices.set_arithmetic(recipe.training.precision)
            images = torch.from_numpy(subset(dataset.train_images, recipe.training.images))
            progress = {
                member: checkpoint.progress(members[member], recipes[member[0].variant], facts, device)
                for member in alike
            }
            unfinished += progress.values()
            constant = cache(partial(losses.constant_decoder, images, sets.test))
            models = schedule.train_all(alike, images.to(device), recipes, device, limit, progress)
            for (spec, seed), trained in zip(alike, models, strict=True):
                folder, recipe = members[spec, seed], recipes[spec.variant]
                metrics = losses.measure(spec, seed, trained, sets, recipe)
                metrics |= {"mean_image_reconstruction": constant(recipe.objective)}
                checkpoint.save(folder, trained, metrics, recipe, facts, args.origin_of(folder))
    for training in unfinished:
        training.remove()
