"""How fast encoders run, in thousand images a second, beside what people write and what the machine could do.

    python benchmarks/encoding.py [--threads N] [--images N] [--json FILE]

Every path computes mean and log-variance of the same random images, `uint8 28 x 28`, in memory, for untrained encoders
of latent size 32: dense 784-512, one convolutional block of 32 channels, and three of 32, 64 and 128. `DataLoader` is a
dataset that gives one image through `ToTensor` at a time, and an eager model; `eager` is the model under
`inference_mode`, in batches of 256. The limit is a float32 matrix product of 2048 measured in the same run, over the
FLOPs of an image without those with padding. Each figure is the median of five alternating runs.
"""

import argparse
import json
import logging
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import to_tensor
from training import matrix_limit

from export import Encoder
from export.graphs import export
from vae.flops import flops
from vae.grid import Spec
from vae.networks import VAE, Widths, as_inputs, build

MODELS = ("DNN1", "CNN1", "CNN3")
WIDTHS = Widths(hidden_units=512, base_channels=32)
RUNTIMES = ("onnx", "torchscript")
BATCH = 256
REPEATS = 5


class OneByOne(Dataset):
    """Images as a torchvision dataset gives them."""

    def __init__(self, images: np.ndarray):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return to_tensor(self.images[index])


@torch.inference_mode()
def loader(model: VAE, images: np.ndarray) -> None:
    """What people write."""
    for batch in DataLoader(OneByOne(images), batch_size=BATCH):
        model.encoder(batch)


@torch.inference_mode()
def eager(model: VAE, images: np.ndarray) -> None:
    """The model itself, in batches."""
    for batch in torch.from_numpy(images).split(BATCH):
        model.encoder(as_inputs(batch))


def seconds_of(run: Callable[[], object]) -> float:
    """Wall-clock seconds of a call."""
    begun = perf_counter()
    run()
    return perf_counter() - begun


def measure(name: str, images: np.ndarray, threads: int) -> list[dict]:
    """A row for every path of an encoder."""
    model = build(Spec.parse(f"L32_{name}_DNN1"), (28, 28), WIDTHS, 0).eval()
    limit = matrix_limit("cpu", "fp32") / flops(model.encoder, as_inputs(torch.from_numpy(images[:1])))
    few = images[: len(images) // 10]  # the slowest path, on a tenth
    with tempfile.TemporaryDirectory() as scratch:
        export(Path(scratch), model, images, {}, check=True)
        encoders = {runtime: Encoder.load(scratch, runtime, "cpu", threads) for runtime in RUNTIMES}
        runs = {
            "DataLoader": (lambda: loader(model, few), len(few)),
            "eager": (lambda: eager(model, images), len(images)),
        }
        for runtime, encoder in encoders.items():
            runs[runtime] = (lambda encoder=encoder: encoder.encode(images), len(images))
        seconds = {path: [] for path in runs}
        for _ in range(1 + REPEATS):
            for path, (run, count) in runs.items():
                seconds[path].append(seconds_of(run) / count)
    speed = {path: 1 / statistics.median(found[1:]) for path, found in seconds.items()}  # the first warms up
    return [
        {
            "encoder": name,
            "path": path,
            "images_per_second": value,
            "ratio": value / speed["DataLoader"],
            "fraction_of_limit": value / limit,
        }
        for path, value in (speed | {"limit": limit}).items()
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; 1 by default")
    parser.add_argument("--images", type=int, default=40_000, help="how many images to encode")
    parser.add_argument("--json", type=Path, help="write the table to this file too")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    logging.disable(logging.INFO)
    images = np.random.default_rng(0).integers(0, 256, (args.images, 28, 28), np.uint8)
    rows = []
    print(f"{args.threads} of {os.cpu_count()} threads, thousand images a second (times DataLoader, of the limit)")
    for name in MODELS:
        found = measure(name, images, args.threads)
        rows += found
        for row in found:
            print(
                f"{name} {row['path']:<12} {row['images_per_second'] / 1000:8.1f}"
                f" {row['ratio']:6.1f} {row['fraction_of_limit']:5.0%}",
                flush=True,
            )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
