"""What weights of 7 bits cost an encoder in 8-bit integers, in speed and accuracy, beside weights of 8.

    python benchmarks/quantisation.py [--json FILE]

Weights of 7 bits are what `export.quantise` writes. The encoders are untrained, of latent size 32, and encode the
tests' sample of MNIST five times over, on one thread; each speed is the median of seven alternating runs. The error is
the root mean squared one of the means over their spread.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from export import Encoder, quantise
from export.graphs import export
from vae.data import readers
from vae.files import write_json
from vae.grid import Spec
from vae.models.networks import Networks
from vae.models.vae import build

MODELS = ("DNN1", "CNN1", "CNN3")
WIDTHS = Networks(hidden_units=512, base_channels=32)
SAMPLE = Path(__file__).parent.parent / "vae/data/mnist_sample"
REPEATS = 7


def quantised(folder: Path, name: str, images: np.ndarray, bits: int) -> Encoder:
    """An untrained encoder in 8-bit integers, with weights of that many bits."""
    spec = Spec.parse(f"L32_{name}_DNN1")
    export(folder, build(spec, images.shape[1:], WIDTHS, 0).eval(), images, {"label": str(spec)}, check=True)
    write_json(folder / "metrics.json", {"status": "ok"})
    quantise.REDUCE_RANGE = bits == 7
    quantise.quantise(folder, images)
    return Encoder.load(folder, "int8", "cpu", 1)


def measure(name: str, images: np.ndarray) -> dict:
    """Ratio of the speeds, and the errors by bits."""
    with tempfile.TemporaryDirectory() as scratch:
        folders = {bits: Path(scratch) / str(bits) for bits in (7, 8)}
        encoders = {bits: quantised(folder, name, images, bits) for bits, folder in folders.items()}
        exact = Encoder.load(folders[7], "onnx", "cpu", 1).encode(images)[0]
    errors = {bits: encoder.encode(images)[0] - exact for bits, encoder in encoders.items()}
    seconds, many = {bits: [] for bits in encoders}, np.tile(images, (5, 1, 1))
    for _ in range(REPEATS):
        for bits, encoder in encoders.items():
            begun = perf_counter()
            encoder.encode(many)
            seconds[bits].append(perf_counter() - begun)
    spread = np.sqrt(exact.var(0).mean())
    return {
        "encoder": name,
        "speed_ratio": statistics.median(seconds[8]) / statistics.median(seconds[7]),
        "error": {bits: float(np.sqrt(np.square(error).mean()) / spread) for bits, error in errors.items()},
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the table to this file too")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    images = np.array(readers.read(SAMPLE).train_images)
    rows = []
    for name in MODELS:
        rows.append(measure(name, images))
        ratio, error = rows[-1]["speed_ratio"], rows[-1]["error"]
        print(f"{name}: {ratio:.2f} times the speed; error {error[7]:.3f}, with 8 bits {error[8]:.3f}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
