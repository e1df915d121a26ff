"""How fast encoders run, in thousand images a second, beside what people write and what the machine could do.

    python benchmarks/encoding.py [--threads N ...] [--images N] [--json FILE]

Every path computes mean and log-variance of the same random images, `uint8 28 x 28`, for encoders of latent size 32:
dense 784-512, one convolutional block of 32 channels, and three of 32, 64 and 128. `DataLoader` is a dataset that gives
one image through `ToTensor` at a time, and an eager model; `eager` is the model under `inference_mode`, in batches of
256. The runtimes are those of `export.Encoder`, in memory; `encode_file` is `native` from .npy to .npy, and
`latent-encode` the program in C++, also from file to file, five times as many images, for it starts cold. The limit is
a float32 matrix product of 2048 measured in the same run, over the FLOPs of an image without those with padding. Each
figure is the median of five alternating runs.
"""

import argparse
import json
import logging
import os
import re
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import to_tensor
from training import matrix_limit

from export import Encoder, native, quantise
from export.graphs import export
from vae.grid import parse_folder
from vae.models.flops import flops
from vae.models.networks import Networks
from vae.models.vae import VAE, as_inputs
from vae.training import checkpoint, loop
from vae.training.objective import Objective
from vae.training.recipe import Recipe, Training

MODELS = ("DNN1", "CNN1", "CNN3")
WIDTHS = Networks(hidden_units=512, base_channels=32)
RUNTIMES = ("onnx", "torchscript", "native", "aot", "int8")
BATCH = 256
REPEATS = 5
COLD = 5


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


def trained(folder: Path, images: np.ndarray) -> None:
    """The folder of a model as a study leaves it, trained for one batch."""
    objective = Objective("bernoulli", 0.1, 1.0, "sum")
    recipe = Recipe(WIDTHS, objective, Training("adam", 0.001, 128, 1, None))
    spec, seed = parse_folder(folder)
    training = loop.train(spec, seed, torch.from_numpy(images[:128]), recipe, torch.device("cpu"))
    facts = {"image_shape": [28, 28], "name": "random", "sha256": ""}
    checkpoint.save(folder, training, {"status": training.status}, recipe, facts)
    export(folder, training.model.eval(), images[:100], {"label": str(spec)}, check=True)
    quantise.quantise(folder, images[:1000])


def program(folder: Path, images: Path, threads: int) -> float:
    """Seconds that the program in C++ says it took, without its start."""
    command = [native.program(), folder / "encoder.ts", images, folder / "cpp.npy", "--overwrite"]
    done = subprocess.run([*command, "--threads", str(threads)], check=True, capture_output=True, text=True)
    return float(re.search(r"in (\S+) s", done.stdout)[1])


def measure(name: str, images: np.ndarray, threads: int) -> list[dict]:
    """A row for every path of an encoder."""
    few = images[: len(images) // 10]  # the slowest path, on a tenth
    with tempfile.TemporaryDirectory() as scratch:
        folder, file = Path(scratch) / f"L32_{name}_DNN1/seed0", Path(scratch) / "images.npy"
        np.save(file, images)
        np.save(file.with_name("many.npy"), np.tile(images, (COLD, 1, 1)))
        trained(folder, images)
        model = checkpoint.load(folder).eval()
        encoders = {runtime: Encoder.load(folder, runtime, "cpu", threads) for runtime in (*RUNTIMES, "auto")}
        best = Encoder.load(folder, "native", "cpu", threads)
        runs = {
            "DataLoader": lambda: seconds_of(lambda: loader(model, few)) * len(images) / len(few),
            "eager": lambda: seconds_of(lambda: eager(model, images)),
        }
        for runtime, encoder in encoders.items():
            runs[runtime] = lambda encoder=encoder: seconds_of(lambda: encoder.encode(images))
        out = {"overwrite": True, "progress": False}
        runs["encode_file"] = lambda: seconds_of(lambda: best.encode_file(file, folder / "z.npy", **out))
        runs["latent-encode"] = lambda: program(folder, file.with_name("many.npy"), threads) / COLD
        seconds = {path: [] for path in runs}
        for _ in range(1 + REPEATS):
            for path, run in runs.items():
                seconds[path].append(run())
    speed = {path: len(images) / statistics.median(times[1:]) for path, times in seconds.items()}  # the first warms up
    limit = matrix_limit("cpu", "fp32") / flops(model.encoder, as_inputs(torch.from_numpy(images[:1])))
    return [
        {
            "encoder": name,
            "path": path,
            "threads": threads,
            "images_per_second": value,
            "ratio": value / speed["DataLoader"],
            "fraction_of_limit": value / limit,
        }
        | ({"chosen": encoders["auto"].runtime} if path == "auto" else {})
        for path, value in (speed | {"limit": limit}).items()
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="CPU threads; 1 by default")
    parser.add_argument("--images", type=int, default=40_000, help="how many images to encode; CNN3 gets a quarter")
    parser.add_argument("--json", type=Path, help="write the table to this file too")
    args = parser.parse_args(arguments)
    logging.disable(logging.INFO)
    native.build()
    images = np.random.default_rng(0).integers(0, 256, (args.images, 28, 28), np.uint8)
    rows = []
    print(f"on {os.cpu_count()} cores: thousand images a second, times DataLoader, of the limit")
    for threads in args.threads:
        torch.set_num_threads(threads)
        for name in MODELS:
            rows += measure(name, images[: len(images) // 4] if name == "CNN3" else images, threads)
            for row in [row for row in rows if (row["encoder"], row["threads"]) == (name, threads)]:
                print(
                    f"{name} on {threads}: {row['path']:<13} {row['images_per_second'] / 1000:8.1f}"
                    f" {row['ratio']:6.1f} {row['fraction_of_limit']:5.0%}  {row.get('chosen', '')}",
                    flush=True,
                )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
