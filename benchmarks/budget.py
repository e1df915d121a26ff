"""How soon models are trained: what smaller budgets leave to be gained, and whether they keep the order of models.

    python benchmarks/budget.py [results] [--epochs N ...] [--plateau N] [--images N] [--set KEY=VALUE ...]
                                [--models LABEL ...] [--processes N] [--json FILE]

`results` holds the dataset and the merged config of a study, whose recipe trains the models: for each number of epochs,
and for the many of the plateau. A row is a budget: how many images pass through a model, the time that all take on one
core each, Kendall's τ between the order of the models and that on the plateau, and by how many nats of −ELBO on test
images each is above its plateau. `--set training.learning_rate=0.8` tries another recipe; its plateau is its own, and
stands in the last row, in nats. One seed: differences of a few tenths may be chance.
"""

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import torch
import yaml
from scipy.stats import kendalltau

from vae import grid, seeds
from vae.data.dataset import load
from vae.files import read_config, read_json
from vae.grid import Spec
from vae.measures import losses, trials
from vae.training.recipe import Recipe

# Simple and deep, of both families and mixed.
MODELS = ["L50_DNN1_DNN1", "L50_DNN4_DNN4", "L50_CNN2_CNN2", "L50_CNN2_DNN4", "L50_DNN1_CNN4"]


def trained(results: Path, changes: dict, trial: tuple[int, str]) -> tuple[float, float]:
    """−ELBO on test images, nats per image, infinite where it diverged; and the seconds of one core."""
    epochs, label = trial
    torch.set_num_threads(1)
    config, dataset = read_config(str(results / "config.yaml")), load(results / "data/dataset.npz")
    recipe = Recipe.of(grid.varied(config, changes | {"training.epochs": epochs}), dataset.binarised)
    facts, member = read_json(results / "data/dataset.json"), (Spec.parse(label), config["training"]["seeds"][0])
    begun = process_time()
    with TemporaryDirectory() as folder:
        ((_, model),) = trials.train([member], dataset, facts, {"": recipe}, torch.device("cpu"), Path(folder))
    seconds = process_time() - begun
    test, draws = torch.from_numpy(dataset.test_images), seeds.of_model("losses", member[1])
    elbo = losses.evaluate(model.model, test, recipe.objective, draws)["elbo"]
    return float("inf") if model.status != "ok" or elbo is None else -elbo, seconds


def change(text: str) -> tuple[str, object]:
    """A key of the config and its value, of `training.learning_rate=0.8`."""
    key, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, yaml.safe_load(value)


def main(arguments: list[str] | None = None) -> None:
    """Train all, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="?", default=Path("results"), help="of a study (results)")
    parser.add_argument("--epochs", type=int, nargs="+", default=[3, 6, 12, 25], help="budgets")
    parser.add_argument("--plateau", type=int, default=50, help="epochs after which models count as trained")
    parser.add_argument("--images", type=int, default=12_000, help="how many images an epoch has")
    parser.add_argument("--set", type=change, nargs="+", default=[], help="other values of keys of the config")
    parser.add_argument("--models", nargs="+", default=MODELS, help="labels; by default a few, simple and deep")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="trainings at a time")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    args = parser.parse_args(arguments)
    budgets = [*sorted(args.epochs), args.plateau]
    every = list(product(budgets[::-1], args.models))  # the longest first
    changes = dict(args.set) | {"training.images": args.images}
    with ProcessPoolExecutor(args.processes, get_context("spawn")) as pool:
        run = map if args.processes == 1 else pool.map
        numbers = dict(zip(every, run(partial(trained, args.results, changes), every), strict=True))
    plateau = [numbers[args.plateau, label][0] for label in args.models]
    print(f"| epochs | passes | core-seconds | τ | {' | '.join(args.models)} |\n|{'---|' * (len(args.models) + 4)}")
    rows = []
    for epochs in budgets:
        found = [numbers[epochs, label][0] for label in args.models]
        seconds = sum(numbers[epochs, label][1] for label in args.models)
        tau = float(kendalltau(found, plateau).statistic)
        gaps = [value - best for value, best in zip(found, plateau, strict=True)]
        cells = [f"{value:.1f}" for value in found] if epochs == args.plateau else [f"{gap:+.1f}" for gap in gaps]
        print(f"| {epochs} | {epochs * args.images:,} | {seconds:.0f} | {tau:.2f} | {' | '.join(cells)} |")
        rows.append({"epochs": epochs, "seconds": seconds, "tau": tau, "losses": dict(zip(args.models, found))})
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
