"""What each part of a study's recipe is worth: its sentinels, trained without that part.

    python benchmarks/recipe.py [results] [--processes N] [--json FILE]

`results` holds the dataset and the merged config of a study. Each sentinel is trained once with the study's recipe, at
its budget, and once without each part; a row says how many nats it then loses more on the validation images, of what is
minimised, and how much time it takes. One seed: differences below half a nat may be chance.
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

from vae import grid
from vae.data.dataset import load
from vae.files import read_config, read_json
from vae.grid import Spec
from vae.measures import trials
from vae.training.recipe import Recipe

WHOLE = "the recipe"
# The rate that suits most architectures where all layers have the same.
CHANGES = {
    WHOLE: {},
    "torch's initial weights": {"networks.initialisation": "torch"},
    "no warm-up of the KLD": {"objective.kl_warmup": 0},
    "one code an image": {"training.antithetic": False},
    "one rate, 0.008, for all layers": {"training.scaled_rate": False, "training.learning_rate": 0.008},
    "a constant rate": {"training.schedule": "constant"},
    "no clip of the gradient": {"training.gradient_clip": None},
}


def loss(results: Path, trial: tuple[str, Spec]) -> tuple[float | None, float]:
    """What a sentinel loses with a change of the recipe, None where it diverged; and its core-seconds."""
    change, spec = trial
    torch.set_num_threads(1)
    config, dataset = read_config(str(results / "config.yaml")), load(results / "data/dataset.npz")
    recipe = Recipe.of(grid.varied(config, CHANGES[change]), dataset.binarised)
    facts, member = read_json(results / "data/dataset.json"), (spec, config["training"]["seeds"][0])
    begun = process_time()
    with TemporaryDirectory() as folder:
        (value,) = trials.validation_losses([member], dataset, facts, {"": recipe}, torch.device("cpu"), Path(folder))
    return value, process_time() - begun


def main(arguments: list[str] | None = None) -> None:
    """Train all, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="?", default=Path("results"), help="of a study (results)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="trainings at a time")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    args = parser.parse_args(arguments)
    specs = grid.sentinels(read_config(str(args.results / "config.yaml")))
    every = list(product(CHANGES, specs))
    with ProcessPoolExecutor(args.processes, get_context("spawn")) as pool:
        run = map if args.processes == 1 else pool.map
        numbers = dict(zip(every, run(partial(loss, args.results), every), strict=True))
    print(f"| without | {' | '.join(map(str, specs))} | time |\n|---|{'---|' * (len(specs) + 1)}")
    seconds = {change: sum(numbers[change, spec][1] for spec in specs) for change in CHANGES}
    for change in CHANGES:
        whole = {spec: None if change == WHOLE else numbers[WHOLE, spec][0] for spec in specs}
        cells = [shown(numbers[change, spec][0], whole[spec]) for spec in specs]
        print(f"| {change} | {' | '.join(cells)} | {seconds[change] / seconds[WHOLE]:.2f} |")
    if args.json:
        rows = [
            {"change": change, "label": str(spec), "loss": value, "seconds": time}
            for (change, spec), (value, time) in numbers.items()
        ]
        args.json.write_text(json.dumps(rows, indent=1))


def shown(value: float | None, whole: float | None) -> str:
    """A loss, or how much more it is than that of the whole recipe."""
    if value is None:
        return "diverged"
    return f"{value:.1f}" if whole is None else f"{value - whole:+.1f}"


if __name__ == "__main__":
    main()
