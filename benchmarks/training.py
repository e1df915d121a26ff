"""How fast models train, against the loop that everybody writes and against the machine itself.

    python benchmarks/training.py [--json FILE] [--threads N]

Both train the same four models (512 hidden units, channels 16-32-64-128, latent size 98, batches of 128, Adam, the mean
objective) on the same number of images, alternately, and the medians of their rates are compared. The limit is the rate
of a large float32 matrix product measured in the same run, over the FLOPs of a training step: three times those of a
forward pass (the pass, and one product each for the gradients of inputs and of weights), which `vae.flops` counts.
"""

import argparse
import gzip
import json
import logging
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # the package of this checkout, installed or not

from vae import data, training  # noqa: E402
from vae.flops import flops  # noqa: E402
from vae.grid import Spec  # noqa: E402
from vae.networks import Widths, build  # noqa: E402

SAMPLE = ROOT / "tests" / "mnist"
MODELS = ("DNN1_DNN1", "DNN3_DNN3", "CNN1_CNN1", "CNN3_CNN3")
LATENT_SIZE, BATCH, REPEATS = 98, 128, 5
WIDTHS = Widths(hidden_units=512, base_channels=16)
OBJECTIVE = training.Objective("bernoulli", 0.1, 1.0, "mean")
RECIPE = training.Recipe(WIDTHS, OBJECTIVE, training.Training("adam", 1e-3, BATCH, 1, None))


def stock(spec: Spec, root: Path, device: torch.device) -> float:
    """One epoch as most people write it; images per second."""
    dataset = datasets.MNIST(root, transform=transforms.ToTensor())
    loader = DataLoader(dataset, BATCH, shuffle=True)
    model = build(spec, (28, 28), WIDTHS, seed=0).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    start = perf_counter()
    for images, _ in loader:
        images = images.to(device)
        mean, log_variance = model.encoder(images)
        codes = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        reconstruction = F.binary_cross_entropy_with_logits(model.decoder(codes), images)
        divergence = -0.5 * torch.mean(1 + log_variance - mean.pow(2) - log_variance.exp())
        loss = reconstruction + divergence
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    loss.item()  # waits for the device
    return len(dataset) / (perf_counter() - start)


def ours(spec: Spec, images: torch.Tensor, device: torch.device) -> float:
    """One epoch of `vae.training`; images per second."""
    return training.train(spec, 0, images, RECIPE, device).images_per_second


def matrix_limit(device: torch.device, size: int = 2048) -> float:
    """FLOP/s of a large float32 matrix product, the best of several."""
    a, b = torch.randn(2, size, size, device=device)
    seconds = []
    for _ in range(8):
        start = perf_counter()
        (a @ b).sum().item()
        seconds.append(perf_counter() - start)
    return 2 * size**3 / min(seconds)


def step_flops(spec: Spec) -> int:
    """FLOPs of a training step for one image."""
    model = build(spec, (28, 28), WIDTHS, seed=0)
    return 3 * (
        flops(model.encoder, torch.zeros(1, 1, 28, 28)) + flops(model.decoder, torch.zeros(1, spec.latent_size))
    )


def unpack_sample(root: Path) -> Path:
    """The tests' sample of MNIST where torchvision looks for it."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in SAMPLE.glob("*.gz"):
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    return root


def alternate(runs: dict[str, Callable[[], float]]) -> dict[str, float]:
    """The median rate of each, run in turn, after a run each to warm up."""
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(REPEATS + 1):
        for name, run in runs.items():
            rate = run()
            if repeat:
                rates[name].append(rate)
    return {name: statistics.median(values) for name, values in rates.items()}


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the table to this file too")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args(arguments)
    logging.getLogger("vae").setLevel(logging.ERROR)
    torch.set_num_threads(args.threads)
    device = training.pick_device("auto")
    images = torch.from_numpy(data.read(SAMPLE).train_images.copy())
    limit = matrix_limit(device)
    print(f"{training.device_name(device)}, {args.threads} threads, torch {torch.__version__}")
    print(f"float32 matrix product: {limit / 1e9:,.0f} GFLOP/s; {len(images)} images a run, medians of {REPEATS} runs")
    print(f"{'model':<10} {'stock':>9} {'ours':>9} {'ratio':>6} {'limit':>9} {'of limit':>9}   images/s")
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        root = unpack_sample(Path(scratch))
        for name in MODELS:
            spec = Spec.parse(f"L{LATENT_SIZE}_{name}")
            rates = alternate(
                {"stock": partial(stock, spec, root, device), "ours": partial(ours, spec, images, device)}
            )
            possible = limit / step_flops(spec)
            row = {
                "name": name,
                "baseline": rates["stock"],
                "samples_per_second": rates["ours"],
                "ratio": rates["ours"] / rates["stock"],
                "fraction_of_limit": rates["ours"] / possible,
            }
            rows.append(row)
            print(
                f"{name:<10} {row['baseline']:9,.0f} {row['samples_per_second']:9,.0f} {row['ratio']:6.2f}"
                f" {possible:9,.0f} {row['fraction_of_limit']:9.0%}"
            )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
