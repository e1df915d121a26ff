"""The runs of a study for experiment trackers: hyperparameters, curves and final metrics of each model."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import safetensors

from vae import progress, provenance
from vae.errors import UserError
from vae.files import read_config
from vae.grid import Spec, expand, folder

MEASURED = ("codes", "likelihood", "samples")
# Numbers that are no metrics: what the run is called by, and on how much was measured.
NO_METRICS = {"seed", "epochs", "images", "samples"}


@dataclass(frozen=True)
class Run:
    """A model as a tracker shows it.

    `name` is its folder below `models`, such as `L50_DNN1_CNN4/seed0`. `curves` have a value of each name for every
    epoch that is over, from the first on. `metrics` and `latents`, the file of its codes, are there once all of the
    model is measured.
    """

    name: str
    hyperparameters: dict[str, str | int | float]
    curves: dict[str, list[float]]
    metrics: dict[str, float]
    latents: Path | None
    diverged: bool

    @property
    def epochs(self) -> int:
        """How many epochs are over."""
        return min(map(len, self.curves.values()), default=0)


def runs(results: Path) -> Iterator[Run]:
    """The models of a study of which at least an epoch is over, in the order of its grid.

    Raises UserError where the folder is no study, or a file of a model is unsound.
    """
    unmeasured = _unmeasured(results)
    config = read_config(str(results / "config.yaml"))
    gaps = bool(config["evaluation"].get("gap_images"))
    for spec, seed in product(expand(config), config["training"]["seeds"]):
        path = folder(results / "models", spec, seed)
        trained = _trained(path) or _in_training(path)
        if not trained:
            continue
        facts, history = trained
        measures = [*MEASURED, *(["gaps"] if gaps else [])]
        measured = path not in unmeasured and all((path / f"{name}.json").exists() for name in measures)
        metrics = _metrics(path, measures, config["evaluation"]) if measured else {}
        diverged = (path / "metrics.json").exists() and provenance.read(path / "metrics.json")["status"] != "ok"
        name = path.relative_to(results / "models").as_posix()
        latents = path / "latents.npz" if measured and not diverged else None
        yield Run(name, _hyperparameters(spec, seed, facts), history, metrics, latents, diverged)


def _unmeasured(results: Path) -> set[Path]:
    """The folders of models whose measures are missing, or are of a training before the last; none, by files alone."""
    states = progress.read(results).states
    if not (results / "jobs").is_dir():
        return set()  # files that were made by hand, or copied without the times of jobs
    waiting = [job for job, state in states.items() if job.stage in ("measure", "gaps") and state != progress.DONE]
    return {(results / file).parent for job in waiting for file in job.files[1:]}


Trained = tuple[dict, dict[str, list[float]]]


def _trained(path: Path) -> Trained | None:
    """Facts and curves of a model whose training is over."""
    if not ((path / "history.csv").exists() and (path / "provenance.json").exists()):
        return None
    with open(path / "history.csv", newline="") as stream:
        return provenance.read(path / "provenance.json"), _curves(path / "history.csv", list(csv.DictReader(stream)))


def _in_training(path: Path) -> Trained | None:
    """Facts and curves of a model that is being trained, from what is kept of it from epoch to epoch."""
    kept = path / "unfinished.safetensors"
    try:
        with safetensors.safe_open(kept, "np") as stream:
            facts = stream.metadata() or {}
        return json.loads(facts["identity"]), _curves(kept, json.loads(facts["history"]))
    except (FileNotFoundError, safetensors.SafetensorError, LookupError, ValueError):
        return None  # not begun, or just over; a damaged one is refused by the training itself


def _curves(path: Path, history: list[dict]) -> dict[str, list[float]]:
    try:
        names = [name for name in history[0] if name != "epoch"]
        return {f"training/{name}": [float(epoch[name]) for epoch in history] for name in names}
    except (LookupError, TypeError, ValueError):
        raise UserError(f"{path}: not the history of a training; delete it and run again") from None


def _hyperparameters(spec: Spec, seed: int, facts: dict) -> dict[str, str | int | float]:
    """The hyperparameters of the model by their names in the config; words for values that are no numbers."""
    values = {"latent_size": spec.latent_size, "encoder": str(spec.encoder), "decoder": str(spec.decoder), "seed": seed}
    for section, value in facts["config"].items():
        named = value if isinstance(value, dict) else {"": value}
        values |= {f"{section}.{key}".removesuffix("."): value for key, value in named.items()}
    plain = (int, float, str)
    return {
        key: value if isinstance(value, plain) and not isinstance(value, bool) else str(value).lower()
        for key, value in values.items()
    }


def _metrics(path: Path, measures: list[str], evaluation: dict) -> dict[str, float]:
    """All numbers that are measured of a model, under the names of `models.csv`."""
    found: dict = {}
    for name in ("metrics", *measures):
        found |= provenance.read(path / f"{name}.json")
    kld = found.get("kld")
    found["collapsed"] = None if kld is None else int(kld < evaluation["collapsed_below"])
    return {
        f"final/{name}": float(value)
        for name, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name not in NO_METRICS
    }
