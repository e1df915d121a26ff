"""What tests share. `SAMPLE` is real MNIST: the first 200 training and 50 test images of each class, in order."""

import gzip
import os
import re
import shutil
import struct
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import starts
import torch
import yaml
from filelock import FileLock
from hypothesis import settings

from vae import grid
from vae.catalogue import FIGURES, STAGES
from vae.cli import main
from vae.data import dataset, readers
from vae.measures import gaps
from vae.models.families import FAMILIES
from vae.models.own import FILES
from vae.training import devices
from vae.training.recipe import Recipe

ROOT = Path(__file__).parent.parent
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PATH": PATH}
SAMPLE = ROOT / "vae/data/mnist_sample"

torch.set_num_threads(1)
# The optimisers whose steps are taken.
TORCHS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
# A network of every family, of depth 2 where it has any.
NETWORKS = [str(grid.Network(name, min(2, family.deepest((1, 28, 28))))) for name, family in FAMILIES.items()]
# No test depends on a clock.
settings.register_profile("clockless", deadline=None)
settings.load_profile("clockless")


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=4, help="how often the soak test kills a study")


# Fixtures that run a study, and modules of tests that compile or measure.
STUDIES = {"checkout", "edited", "finished", "colour"}
SLOW_MODULES = {"test_installation", "test_native", "test_benchmarks", "test_web", "test_slurm"}


def pytest_collection_modifyitems(items):
    """Say which tests are slow, and which go to the same process: those of a file, or of files that they change."""
    for item in items:
        studies = STUDIES & set(item.fixturenames)
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no GPU here"))
        if studies or item.path.stem in SLOW_MODULES:
            item.add_marker(pytest.mark.slow)
        changed = studies & {"edited"}
        alone = item.nodeid if studies else item.path.name
        item.add_marker(pytest.mark.xdist_group(changed.pop() if changed else alone))
    # The longest first, so that no process waits at the end for the other.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def write_idx(path, images):
    """Write images as IDX, packed where the name says so."""
    raw = b"\0\0\x08" + bytes([images.ndim]) + struct.pack(f">{images.ndim}I", *images.shape) + images.tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


@pytest.fixture(autouse=True)
def own_families():
    """Families that a test loads are forgotten after it."""
    with patch.dict(FAMILIES), patch.dict(FILES):
        yield


@pytest.fixture(scope="session", autouse=True)
def own_cache(request):
    """What is compiled for this machine is kept from one run of the tests to the next, apart from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(request.config.cache.mkdir("compiled")))
        yield


@pytest.fixture
def nobody(monkeypatch):
    """As a user whose id has no entry in passwd, and who has no home, as in a container."""

    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def sample() -> dataset.Dataset:
    """2,000 training and 500 test images of MNIST."""
    return readers.read(SAMPLE, "sample")


@pytest.fixture(scope="session")
def divided(sample) -> dataset.Dataset:
    """The same with 500 of the training images for validation."""
    return dataset.split(replace(sample, test_images=np.array(sample.test_images)), 500)


@pytest.fixture(scope="session")
def images(sample) -> torch.Tensor:
    return torch.from_numpy(np.array(sample.train_images))


@pytest.fixture(scope="session")
def test_images(sample) -> torch.Tensor:
    return torch.from_numpy(np.array(sample.test_images))


@pytest.fixture
def config() -> dict:
    """The config of a training that takes a second."""
    return {
        "networks": {"hidden_units": 32, "base_channels": 2},
        "objective": {"likelihood": "bernoulli", "sigma": 0.1, "beta": 1.0, "reduction": "sum"},
        "training": {"optimizer": "adam", "learning_rate": 0.001, "batch_size": 100, "epochs": 1, "images": 500},
        "evaluation": {"collapsed_below": 1.0, "active_above": 0.01, "separability_images": 500},
        "device": "cpu",
    }


@pytest.fixture
def recipe(config) -> Recipe:
    return Recipe.of(config)


@pytest.fixture
def arithmetic():
    """Set the arithmetic of the process, and set it back."""
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    yield devices.set_arithmetic
    for backend, value in zip(backends, before, strict=True):
        backend.allow_tf32 = value
    torch.use_deterministic_algorithms(False)


def study(root, labels=None, drawn=tuple(FIGURES), families=None, **changes):
    """Run every stage on small colour images, without labels if none are given; returns the folder with all of it.

    Each stage has the file `families` of its arguments alone, as in a process of its own.
    """
    rng = np.random.default_rng(0)
    hue = rng.integers(0, 256, (90, 3, 1, 1))
    images = (hue * np.linspace(0.2, 1, 32)).repeat(32, axis=2).astype(np.uint8)
    labels = {} if labels is None else {"train_labels": labels[:60], "test_labels": labels[60:]}
    np.savez(root / "own.npz", train_images=images[:60], test_images=images[60:], **labels)
    config = {
        "dataset": {"name": "own", "path": str(root / "own.npz"), "validation_images": 20, "binarise": False},
        "grid": {
            "latent_sizes": [1, 3], "encoders": ["DNN1", "CNN5"], "decoders": ["DNN1", "CNN5"], "sweep": {}, "tune": {},
        },
        "networks": {"hidden_units": 16, "base_channels": 2, "encoder_parameters": None, "decoder_parameters": None},
        "objective": {"likelihood": "gaussian", "sigma": 0.1, "beta": 1.0, "reduction": "sum"},
        "training": {
            "optimizer": "adam", "learning_rate": 0.003, "batch_size": 10, "epochs": 2, "images": None, "seeds": [0],
        },
        "evaluation": {
            "collapsed_below": 1.0, "active_above": 0.01, "separability_images": None, "budget_fidelity": True,
            "gap_images": 0, "swap": False, "control": False,
        },
        "device": "cpu",
    }  # fmt: skip
    for section, change in changes.items():
        config[section] |= change
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    results = root / "results"
    models = [grid.folder(results / "models", spec, 0) for spec in grid.expand(config)]

    def vae(stage, *arguments):
        own = ["--families", families] if families and STAGES[stage].builds else []
        with patch.dict(FAMILIES), patch.dict(FILES):
            done = main([stage, "--log", str(root / "log"), *map(str, [*own, *arguments])])
        assert done == 0, (root / "log").read_text()

    given, data = ["--config", root / "config.yaml"], ["--dataset", root / "dataset.npz"]
    baselines, tables = results / "baselines", results / "tables"
    images, written = ["--images", 20, "--probe-images", 15], ("pixels", "untrained", "truth")
    vae("dataset", *given, root / "dataset.npz")
    vae("check", *given, *data, root / "merged.yaml")
    vae("baselines", *given, *data, *images, *(baselines / f"{name}.json" for name in written))
    vae("classifier", *data, "--samples", 20, baselines / "classifier.npz")
    vae("train", *given, *data, *models)
    vae("export", *data, *models)
    if config["evaluation"]["swap"]:
        for pair in {spec.pair: spec for spec in grid.expand(config)}:
            donors = [folder for folder in models if folder.parent.name.endswith(pair)]
            vae("swap", *given, *data, "--output", results / f"swap/{pair}.json", *donors)
    if config["evaluation"]["control"]:
        for spec in {spec.pair: spec for spec in grid.expand(config)}.values():
            vae("control", *given, *data, spec.encoder, spec.decoder, results / f"control/{spec.pair}.json")
    for spec in grid.sentinels(config):
        vae("fidelity", *given, *data, spec, results / f"fidelity/{spec.pair}.json")
    extent = ["--probe-images", 15, "--samples", 20, "--likelihood-samples", 3, "--likelihood-images", 20]
    vae("measure", *data, *extent, "--classifier", baselines / "classifier.npz", *models)
    if config["evaluation"]["gap_images"]:
        with patch.multiple(gaps, STEPS=20, ESTIMATING=50, IMPORTANCE=100):
            vae("gaps", *data, "--images", config["evaluation"]["gap_images"], *models)
    vae("quantise", *data, *models)
    table = ["--table", tables / "models.csv"]
    budget = ["--fidelity", tables / "fidelity.csv"]
    more = [word for name in ("architectures", "counts", "swap") for word in (f"--{name}", tables / f"{name}.csv")]
    vae("tables", *given, "--results", results, *table, *more, *budget)
    decided = [tables / f"{name}.csv" for name in ("claims", "effects", "means", "rate_distortion")]
    swapped = ["--swap", tables / "swap.csv"]
    vae("claims", *table, *budget, *swapped, *decided)
    vae("figures", *data, "--results", results, results / "figures", *drawn)
    shown = [results / f"figures/{name}.png" for name in drawn if FIGURES[name].on_page]
    given = ["--claims", decided[0], "--effects", decided[1]]
    vae("page", *table, *budget, *given, results / "claims.html", *shown)
    vae("explore", *data, "--results", results, results / "explore.html")
    return root


def once(tmp_path_factory, worker_id, name, make):
    """A folder that all processes of the tests share; `make` fills it, in the first that asks."""
    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent
    folder, done = base / name, base / f"{name}.done"
    with FileLock(base / f"{name}.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that failed
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def colour(tmp_path_factory, worker_id):
    """A finished study of eight models, to be read."""
    return once(tmp_path_factory, worker_id, "colour", study)


def laid_out(colour, results):
    """A copy of the study of colour images in the folder `results`, as the workflow lays one out; that folder."""
    shutil.copytree(colour / "results", results)
    (results / "data").mkdir()
    for suffix in ("npz", "json"):
        shutil.copy(colour / f"dataset.{suffix}", results / "data")
    shutil.copy(colour / "merged.yaml", results / "config.yaml")
    return results


def snakemake(*arguments, cwd, ok=True):
    """Run Snakemake; returns all it printed."""
    code, printed = starts.snakemake([str(argument) for argument in arguments], cwd, ENVIRONMENT)
    assert (code == 0) == ok, printed
    return printed


def own_family():
    """The file of a family that the documentation shows."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/how-to/own-family.md").read_text(), re.S)
    (example,) = (block for block in blocks if "@family(" in block)
    return example


def errors(printed):
    assert "Traceback" not in printed
    return [line for line in printed.splitlines() if line.startswith("vae: ERROR")]


def overlay(folder, change):
    """The study of the tests with some keys changed, as arguments."""
    (folder / "change.yaml").write_text(yaml.safe_dump(change))
    return ["--configfile", ROOT / "tests/study.yaml", folder / "change.yaml"]


def away(checkout, folder, change):
    """Arguments to run the checkout's study of the tests, with some keys changed, in another folder."""
    return ["--cores", 2, "--snakefile", checkout / "Snakefile", "--directory", folder, *overlay(folder, change)]


@pytest.fixture(scope="session")
def checkout(tmp_path_factory, worker_id):
    """A copy of the repository in which the study of the tests has run, to be read."""

    def make(folder):
        away = shutil.ignore_patterns(".*", "results", "node_modules", "__pycache__", "*.egg-info", "build")
        copy = shutil.copytree(ROOT, folder / "check out", ignore=away)  # a space, as some people's folders have
        snakemake("--cores", 2, "--configfile", "tests/study.yaml", cwd=copy)

    return once(tmp_path_factory, worker_id, "workflow", make) / "check out"


@pytest.fixture(scope="session")
def edited(checkout, tmp_path_factory):
    """A copy of that copy, whose files tests may change for as long as they run."""
    return shutil.copytree(checkout, tmp_path_factory.mktemp("edited") / "check out", symlinks=True)
