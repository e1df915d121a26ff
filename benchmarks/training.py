"""How fast models train, against the loop that everybody writes and against the machine itself.

    python benchmarks/training.py [--size wide|study] [--json FILE] [--threads N] [--together M] [--precision P]

Both train the same four models (512 hidden units, channels 16-32-64-128, latent size 98, batches of 128; with `--size
study` those of the default study's size: 256, 8-16-32-64, 50, batches of 64), by Adam, with the mean objective, on the
same number of images, alternately, each in a process of its own, and the medians of their rates are compared; the
package trains as a job of the workflow does. Where JAX is installed (`pip install -e .[benchmarks]`), its loop is
measured too, on CPUs. With `--together`, by default 20 on a GPU, the package trains that many seeds at once, and its
rate is that of all of them. The limit is the rate of a large matrix product at the same precision, measured in the same
run, over the FLOPs of a training step: three times those of a forward pass (the pass, and one product each for the
gradients of inputs and of weights), which `vae.models.flops` counts.
"""

import argparse
import json
import logging
import os
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from math import prod
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from vae.catalogue import ENVIRONMENT
from vae.data import readers
from vae.grid import Network, Spec
from vae.models.flops import flops
from vae.models.networks import Networks
from vae.models.vae import build
from vae.training import devices, loop, schedule
from vae.training.objective import Objective
from vae.training.recipe import Recipe, Training

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "vae/data/mnist_sample"
MODELS = ("DNN1_DNN1", "DNN3_DNN3", "CNN1_CNN1", "CNN3_CNN3")
REPEATS = 5
IMAGES = {"cpu": 8_000, "cuda": 60_000}


class Size(NamedTuple):
    """How wide models are, and how many images a step takes."""

    hidden_units: int
    base_channels: int
    latent_size: int
    batch: int

    @property
    def widths(self) -> Networks:
        return Networks(self.hidden_units, self.base_channels)

    @property
    def channels(self) -> list[int]:
        """Of the image, and of the maps of each block."""
        return [1, *(self.base_channels * 2**block for block in range(4))]


WIDE, STUDY = Size(512, 16, 98, 128), Size(256, 8, 50, 64)
SIZES = {"wide": WIDE, "study": STUDY}
# Sides of the image, and of the maps of each block.
EXTENTS = [28, 14, 7, 4, 2]
OBJECTIVE = Objective("bernoulli", 0.1, 1.0, "mean")


class Stock(nn.Module):
    """The same architecture, as most people write it."""

    def __init__(self, encoder: Network, decoder: Network, size: Size = WIDE):
        super().__init__()
        channels, sizes, hidden, latent = size.channels, EXTENTS, size.hidden_units, size.latent_size
        layers, features = [nn.Flatten()], 784
        if encoder.family == "DNN":
            for _ in range(encoder.depth):
                layers += [nn.Linear(features, hidden), nn.LeakyReLU()]
                features = hidden
        else:
            for i in reversed(range(encoder.depth)):
                layers = [nn.Conv2d(channels[i], channels[i + 1], 5, 2, 2), nn.LeakyReLU(), *layers]
            features = channels[encoder.depth] * sizes[encoder.depth] ** 2
        self.encoder = nn.Sequential(*layers)
        self.mean, self.log_variance = nn.Linear(features, latent), nn.Linear(features, latent)
        if decoder.family == "DNN":
            layers, features = [], latent
            for _ in range(decoder.depth):
                layers += [nn.Linear(features, hidden), nn.LeakyReLU()]
                features = hidden
            layers += [nn.Linear(hidden, 784), nn.Unflatten(1, (1, 28, 28))]
        else:
            smallest = (channels[decoder.depth], sizes[decoder.depth], sizes[decoder.depth])
            layers = [nn.Linear(latent, prod(smallest)), nn.Unflatten(1, smallest)]
            for i in reversed(range(decoder.depth)):
                padding = 1 - sizes[i] % 2
                layers += [nn.LeakyReLU(), nn.ConvTranspose2d(channels[i + 1], channels[i], 5, 2, 2, padding)]
        self.decoder = nn.Sequential(*layers)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = self.encoder(images)
        mean, log_variance = self.mean(features), self.log_variance(features)
        codes = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        return self.decoder(codes), mean, log_variance


def stock(label: str, root: Path, on: str, threads: int, size: Size = WIDE) -> float:
    """One epoch as most people write it; images per second."""
    torch.set_num_threads(threads)
    dataset = datasets.MNIST(root, transform=transforms.ToTensor())
    loader = DataLoader(dataset, size.batch, shuffle=True)
    spec = Spec.parse(label)
    model = Stock(spec.encoder, spec.decoder, size).to(on)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    start = perf_counter()
    for images, _ in loader:
        images = images.to(on)
        logits, mean, log_variance = model(images)
        reconstruction = F.binary_cross_entropy_with_logits(logits, images)
        divergence = -0.5 * torch.mean(1 + log_variance - mean.pow(2) - log_variance.exp())
        loss = reconstruction + divergence
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    loss.item()  # waits for the device
    return len(dataset) / (perf_counter() - start)


def ours(label: str, root: Path, on: str, threads: int, together: int, precision: str, size: Size = WIDE) -> float:
    """One epoch as a job of the workflow trains it; images per second, of all models trained at once."""
    torch.set_num_threads(threads)
    logging.getLogger("vae").setLevel(logging.ERROR)
    devices.set_arithmetic(precision)
    images = torch.from_numpy(readers.read(root / "MNIST/raw").train_images.copy()).to(on)
    recipe = Recipe(size.widths, OBJECTIVE, Training("adam", 1e-3, size.batch, 1, None, precision))
    members = [(Spec.parse(label), seed) for seed in range(together)]
    if together == 1 and on == "cpu":
        return loop.train(*members[0], images, recipe, torch.device(on)).images_per_second
    return schedule.train_together(members, images, {"": recipe}, torch.device(on))[0].images_per_second


def of_jax(label: str, root: Path, on: str, threads: int, size: Size) -> float:
    """One epoch in JAX; images per second."""
    from jax_peer import rate

    return rate(label, readers.read(root / "MNIST/raw").train_images, size, threads)


def matrix_limit(on: str, precision: str) -> float:
    """FLOP/s of a large matrix product at this precision, the best of several."""
    devices.set_arithmetic(precision)
    size = 2048 if on == "cpu" else 8192
    a, b = torch.randn(2, size, size, device=on, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    seconds = []
    for _ in range(8):
        start = perf_counter()
        (a @ b)[0, 0].item()  # waits for the device
        seconds.append(perf_counter() - start)
    return 2 * size**3 / min(seconds)


def step_flops(label: str, size: Size = WIDE) -> int:
    """FLOPs of a training step for one image."""
    model = build(Spec.parse(label), (28, 28), size.widths, seed=0)
    return 3 * (
        flops(model.encoder, torch.zeros(1, 1, 28, 28)) + flops(model.decoder, torch.zeros(1, size.latent_size))
    )


def write_sample(root: Path, count: int) -> None:
    """`count` training images, the tests' sample of MNIST over and over, where torchvision looks for them."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    sample = readers.read(SAMPLE)
    for part, images, labels, number in (
        ("train", sample.train_images, sample.train_labels, count),
        ("t10k", sample.test_images, sample.test_labels, len(sample.test_images)),
    ):
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            array = np.resize(array, (number, *array.shape[1:])).astype(np.uint8)
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
            (raw / f"{part}-{name}-ubyte").write_bytes(header + array.tobytes())


def alternate(runs: dict[str, Callable[[], float]]) -> dict[str, float]:
    """The median rate of each, run in turn, after a run each to warm up."""
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(REPEATS + 1):
        for name, run in runs.items():
            rate = run()
            if repeat:
                rates[name].append(rate)
    return {name: statistics.median(values) for name, values in rates.items()}


def process(environment: dict[str, str]) -> ProcessPoolExecutor:
    """A process of its own, started in this environment."""
    before = dict(os.environ)
    os.environ.update(environment)
    executor = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    executor.submit(os.getpid).result()
    os.environ.clear()
    os.environ.update(before)
    return executor


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print the table."""
    on = devices.pick("auto").type
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the table to this file too")
    parser.add_argument("--size", default="wide", choices=SIZES, help="of the models and their batches")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--together", type=int, default=20 if on == "cuda" else 1, help="models trained at once")
    parser.add_argument(
        "--precision", default="fp32", choices=["fp32", "tf32", "bf16"], help="of the package's training"
    )
    args = parser.parse_args(arguments)
    size = SIZES[args.size]
    torch.set_num_threads(args.threads)
    limit = matrix_limit(on, args.precision)
    print(f"{devices.describe(torch.device(on))}, {args.threads} threads, torch {torch.__version__}")
    print(f"{args.precision} matrix product: {limit / 1e9:,.0f} GFLOP/s")
    print(f"{IMAGES[on]:,} images a run, {args.together} models at once, medians of {REPEATS} runs")
    print(f"{'model':<10} {'stock':>9} {'JAX':>9} {'ours':>9} {'ratio':>6} {'limit':>9} {'of limit':>9}   images/s")
    with_jax = on == "cpu" and bool(find_spec("jax") and find_spec("optax"))
    rows = []
    with (
        tempfile.TemporaryDirectory() as scratch,
        process({}) as theirs,
        process({}) as peer,
        process(ENVIRONMENT) as tuned,
    ):
        root = Path(scratch)
        write_sample(root, IMAGES[on])
        for name in MODELS:
            label = f"L{size.latent_size}_{name}"
            common = (label, root, on, args.threads)
            runs = {
                "stock": partial(theirs.submit, stock, *common, size),
                "ours": partial(tuned.submit, ours, *common, args.together, args.precision, size),
            }
            if with_jax:
                runs["jax"] = partial(peer.submit, of_jax, *common, size)
            rates = alternate({kind: lambda run=run: run().result() for kind, run in runs.items()})
            possible = limit / step_flops(label, size)
            row = {
                "name": name,
                "baseline": rates["stock"],
                "jax": rates.get("jax"),
                "samples_per_second": rates["ours"],
                "ratio": rates["ours"] / rates["stock"],
                "fraction_of_limit": rates["ours"] / possible,
            }
            rows.append(row)
            jax = f"{row['jax']:,.0f}" if with_jax else "–"
            print(
                f"{name:<10} {row['baseline']:9,.0f} {jax:>9} {row['samples_per_second']:9,.0f} {row['ratio']:6.2f}"
                f" {possible:9,.0f} {row['fraction_of_limit']:9.0%}",
                flush=True,
            )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
