"""Whether the package is right on a GPU, and how fast: one command, for a machine that is lent for minutes.

    python benchmarks/gpu.py [--minutes N] [--json FILE] [--dataset FILE] [--parts PART ...]

The parts run one after the other, each in a process of its own: one that fails or takes too long is said, and does not
stop the rest. Their tables are Markdown for benchmarks/README.md.

- `tests` are those that are marked `gpu`: the stack, its CUDA graph and its memory against the loop, resuming and
  repeating to the last bit, leases, the C++ core.
- `training` has the models and the stock loop of `benchmarks/training.py`, at each precision, medians of three runs.
- `encoding` is that of the encoders of `benchmarks/encoding.py`, against what the GPU could compute and what could be
  copied to it.
- `precision` is whether architectures keep their order where products are less precise.
- `paper` trains pairs of `workflow/studies/paper.yaml` as their jobs do, until the time is up, and says what all take.

It needs what training needs, pytest and hypothesis; not Snakemake.
"""

import argparse
import json
import logging
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from time import perf_counter

import encoding
import numpy as np
import torch
import training
import yaml
from scipy.stats import kendalltau

from export import Encoder, native
from vae.data import dataset, readers
from vae.files import write_json
from vae.grid import Spec
from vae.measures import losses
from vae.models.flops import flops
from vae.models.vae import as_inputs
from vae.training import checkpoint, devices, schedule
from vae.training.recipe import Recipe

ROOT = Path(__file__).parent.parent
# What a part has found, again with all of it whenever there is more: numbers, and a table of them.
Found = Iterator[tuple[dict, str]]
TESTED = [f"tests/test_{name}.py" for name in ("stack", "state", "device", "native")]
PAPER = "workflow/studies/paper.yaml"
PRECISIONS = ("fp32", "tf32", "bf16")
TOGETHER, TRAINED, ENCODED = 20, 25_600, 400_000
# From the simplest to the deepest, on both sides.
ORDERED = [f"{encoder}_{decoder}" for encoder, decoder in product(("DNN1", "CNN1", "CNN4"), repeat=2)]
SHORT = 4  # epochs, where only an order is looked for
SEEDS, OTHERS = [0, 1, 2], [3, 4, 5]


def table(heads: list[str], rows: list[list[object]]) -> str:
    """Rows as a table of Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


@cache
def device() -> torch.device:
    """The GPU; or the CPU, on which the parts can be tried."""
    return devices.pick("auto")


def images_of(file: Path | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Training images on the GPU, and test images, of a file or of the sample of MNIST that the package ships."""
    data = dataset.split(readers.read(file or training.SAMPLE), None)
    return torch.tensor(data.train_images, device=device()), torch.tensor(data.test_images)


def tests(file: Path | None, minutes: float) -> Found:
    """The tests that are marked `gpu`, in one process."""
    given = [*TESTED, "-m", "gpu", "-o", "addopts=", "-p", "no:benchmark", "-q", "-rfE"]
    done = subprocess.run([sys.executable, "-m", "pytest", *given], cwd=ROOT, capture_output=True, text=True)
    print(done.stdout[-8000:], done.stderr[-2000:], sep="\n")
    said = done.stdout.strip().splitlines()[-1]
    if done.returncode:
        raise RuntimeError(f"tests: {said}")
    yield {"said": said}, f"Tests on the GPU: {said}."


def training_part(file: Path | None, minutes: float) -> Found:
    """Images per second of the stock loop and of a stack, at each precision, with what the GPU could do."""
    on, rows, found = device().type, [], {}
    logging.getLogger("vae").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        training.write_sample(root, TRAINED)
        labels = {name: f"L{training.WIDE.latent_size}_{name}" for name in training.MODELS}
        # First, before this process is made to compute deterministically.
        stock = {name: middle(training.stock, label, root, on, 1) for name, label in labels.items()}
        limits = {precision: training.matrix_limit(on, precision) for precision in PRECISIONS}
        for name, label in labels.items():
            given = label, root, on, 1, TOGETHER
            rates = {precision: middle(training.ours, *given, precision) for precision in PRECISIONS}
            shares = {of: rate / (limits[of] / training.step_flops(label)) for of, rate in rates.items()}
            found[name] = {"stock": stock[name], "ours": rates, "fraction_of_limit": shares}
            cells = [f"{rates[of]:,.0f} ({rates[of] / stock[name]:.0f}×, {shares[of]:.0%})" for of in PRECISIONS]
            rows.append([name, f"{stock[name]:,.0f}", *cells])
    heads = [f"{of} of {limits[of] / 1e12:.0f} TFLOP/s" for of in PRECISIONS]
    numbers = {"limits": limits, "models": found}
    yield numbers, table(["images/s", "stock loop, fp32", *heads], rows)


def middle(run: Callable[..., float], *given: object) -> float:
    """The median of what three runs return."""
    return statistics.median(run(*given) for _ in range(3))


def bandwidth(pinned: bool) -> float:
    """Bytes per second from the host to the device."""
    here = torch.empty(2**28, dtype=torch.uint8, pin_memory=pinned and device().type == "cuda")
    there = torch.empty_like(here, device=device())
    return here.nbytes / best(lambda: there.copy_(here))


def best(run: Callable[[], object]) -> float:
    """The least seconds of several runs, after one to warm up."""
    seconds = []
    for _ in range(4):
        finish()
        begun = perf_counter()
        run()
        finish()
        seconds.append(perf_counter() - begun)
    return min(seconds[1:])


def finish() -> None:
    """Wait for the GPU."""
    if device().type == "cuda":
        torch.cuda.synchronize()


def encoding_part(file: Path | None, minutes: float) -> Found:
    """Images per second of encoders, from memory of the host to memory of the host."""
    native.build()
    on, rows, found = device().type, [], {}
    devices.set_arithmetic("fp32")
    images = np.random.default_rng(0).integers(0, 256, (ENCODED, 28, 28), np.uint8)
    copied = {name: bandwidth(name == "pinned") / images[0].nbytes for name in ("pinned", "pageable")}
    for name in encoding.MODELS:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / f"L32_{name}_DNN1/seed0"
            encoding.trained(folder, images[:2000])
            wanted = Encoder.load(folder, "onnx", "cpu").encode(images[:2000])[0]
            rates = {}
            for runtime in ("torchscript", "native"):
                encoder = Encoder.load(folder, runtime, on)
                distance = np.abs(encoder.encode(images[:2000])[0] - wanted).max() / np.abs(wanted).max()
                if distance > 1e-5:
                    raise RuntimeError(f"{name}, {runtime}: codes are off by {distance:.1e}")
                rates[runtime] = len(images) / best(lambda encoder=encoder: encoder.encode(images))
            model = checkpoint.load(folder).encoder
            rates["computed"] = training.matrix_limit(on, "fp32") / flops(model, as_inputs(torch.zeros(1, 28, 28)))
        found[name] = rates | copied
        rows.append([name, *(f"{rate / 1e6:.2f}" for rate in found[name].values())])
    heads = ["torchscript", "native", "limit of computing", "of copying, pinned", "of copying, pageable"]
    yield found, table(["million images/s", *heads], rows)


def members(pair: str, sizes: list[int], seeds: list[int]) -> list[tuple[Spec, int]]:
    """The models of a pair."""
    return [(Spec.parse(f"L{size}_{pair}"), seed) for size in sizes for seed in seeds]


def study() -> dict:
    """The config of the paper's study: what its file says, over the defaults, without the schema and its library."""
    config, overlay = (yaml.safe_load((ROOT / path).read_text()) for path in ("config.yaml", PAPER))
    return {key: value | overlay.get(key, {}) if isinstance(value, dict) else value for key, value in config.items()}


def precision_part(file: Path | None, minutes: float) -> Found:
    """The order of architectures at each precision beside that of other seeds, by the loss on test images."""
    logging.getLogger("vae").setLevel(logging.ERROR)
    (images, test), recipe = images_of(file), Recipe.of(study())
    means, runs = {}, [("fp32", "fp32", SEEDS), ("other seeds", "fp32", OTHERS)]
    for name, precision, seeds in [*runs, *((of, of, SEEDS) for of in PRECISIONS[1:])]:
        devices.set_arithmetic(precision)
        one = replace(recipe, training=replace(recipe.training, epochs=SHORT, precision=precision))
        for pair in ORDERED:
            trained = schedule.train_together(members(pair, [50], seeds), images, {"": one}, device())
            found = [losses.evaluate(each.model, test, one.objective, 0)["reconstruction"] for each in trained]
            means.setdefault(name, []).append(float(np.mean(found)))
    rows, numbers = [], {}
    for name in list(means)[1:]:
        changes = np.abs(np.subtract(means[name], means["fp32"]))
        tau = float(kendalltau(means["fp32"], means[name]).statistic)
        numbers[name] = {"tau": tau, "median_change": float(np.median(changes)), "largest": float(changes.max())}
        rows.append([name, f"{tau:.2f}", f"{np.median(changes):.2f}", f"{changes.max():.2f}"])
    heads = ["against fp32", "Kendall's τ", "median change, nats", "largest"]
    said = f"{len(ORDERED)} architectures, {SHORT} epochs, means over {len(SEEDS)} seeds."
    yield numbers | {"means": means}, f"{table(heads, rows)}\n\n{said}"


def paper_part(file: Path | None, minutes: float) -> Found:
    """Pairs of the paper's study, all models of each at once for all its epochs; first a short run of every pair."""
    begun, config = perf_counter(), study()
    logging.getLogger("vae").setLevel(logging.ERROR)
    (images, _), recipe = images_of(file), Recipe.of(config)
    devices.set_arithmetic(recipe.training.precision)
    pairs = [f"{encoder}_{decoder}" for encoder in config["grid"]["encoders"] for decoder in config["grid"]["decoders"]]
    sizes, seeds = config["grid"]["latent_sizes"], config["training"]["seeds"]
    brief = replace(recipe, training=replace(recipe.training, epochs=2))
    some, predicted, measured, rates = images[:TRAINED], {}, {}, {}
    for pair in pairs:
        trained = schedule.train_together(members(pair, sizes, seeds), some, {"": brief}, device())
        rates[pair] = len(some) / trained[0].history[-1]["seconds"]
        predicted[pair] = len(sizes) * len(seeds) * len(images) * recipe.training.epochs / rates[pair]
    yield _paper(rates, predicted, measured)
    for pair in sorted(pairs, key=lambda pair: predicted[pair], reverse=True):
        if predicted[pair] * 1.2 < 60 * minutes - (perf_counter() - begun):
            start = perf_counter()
            trained = list(schedule.train_all(members(pair, sizes, seeds), images, {"": recipe}, device()))
            measured[pair] = perf_counter() - start
            ends = [each.history[-1] for each in trained]
            nats = " and ".join(f"{np.mean([end[name] for end in ends]):.1f}" for name in ("reconstruction", "kld"))
            print(f"{pair}: {measured[pair]:.0f} s, {predicted[pair]:.0f} predicted; {nats} nats", flush=True)
            yield _paper(rates, predicted, measured)


def _paper(rates: dict, predicted: dict, measured: dict) -> tuple[dict, str]:
    """What is known of the pairs so far."""
    rows = [
        [pair, f"{rates[pair]:,.0f}", f"{predicted[pair]:.0f}", f"{measured[pair]:.0f}" if pair in measured else ""]
        for pair in rates
    ]
    whole = sum(measured.get(pair, predicted[pair]) for pair in rates)
    said = (
        f"All {len(rates)} pairs train in {whole / 60:.0f} minutes, of which {sum(measured.values()) / 60:.0f} were"
        " run and the rest are by the rate of a short run; choosing the learning rates takes as long again."
    )
    numbers = {"images_per_second": rates, "predicted": predicted, "measured": measured, "all": whole}
    return numbers, table(["pair", "images/s", "seconds, by a short run", "run"], rows) + f"\n\n{said}"


# Each with how many minutes it may take of those that are left; the last takes what is left.
PARTS: dict[str, tuple[Callable[[Path | None, float], Found], float]] = {
    "tests": (tests, 4),
    "training": (training_part, 4),
    "encoding": (encoding_part, 3),
    "precision": (precision_part, 4),
    "paper": (paper_part, 1000),
}


def in_process(name: str, file: Path | None, minutes: float, output: Path) -> dict:
    """What a part finds, in a process of its own; and why it ended before its end."""
    if minutes <= 0:
        return {"status": "no time was left", "seconds": 0}
    given = [sys.executable, __file__, "--part", name, "--minutes", str(minutes), "--json", str(output)]
    begun = perf_counter()
    process = subprocess.Popen([*given, *(["--dataset", str(file)] if file else [])], start_new_session=True)
    try:
        code = process.wait(60 * minutes)
        status = f"failed, with exit status {code}" if code else "ok"
    except subprocess.TimeoutExpired:
        # With what it has started, which would slow down the parts after it.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        status = f"took more than {minutes:.1f} minutes"
    found = json.loads(output.read_text()) if output.exists() else {}
    return found | {"status": status, "seconds": perf_counter() - begun}


def main(arguments: list[str] | None = None) -> int:
    """Run the parts, and print their tables; 1 where one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=25, help="how long all may take; 25 by default")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    parser.add_argument("--dataset", type=Path, help="images, as a study's dataset.path; the shipped sample by default")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="which parts; all by default")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.part:
        for numbers, text in PARTS[args.part][0](args.dataset, args.minutes):
            write_json(args.json, {"numbers": numbers, "table": text})
        return 0
    begun, found = perf_counter(), {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.parts:
            left = args.minutes - (perf_counter() - begun) / 60
            found[name] = in_process(name, args.dataset, min(left, PARTS[name][1]), Path(scratch) / name)
            print(f"{name}: {found[name]['status']}, {found[name]['seconds']:.0f} s", flush=True)
            if args.json:
                write_json(args.json, found)
    print(f"\n`python benchmarks/gpu.py`, {devices.describe(device())}, torch {torch.__version__}:")
    for name, part in found.items():
        print(f"\n{part.get('table') or name + ': ' + part['status']}")
    return int(any(part["status"] != "ok" for part in found.values()))


if __name__ == "__main__":
    sys.exit(main())
