"""The table: one row per model. Every figure, count and claim is computed from it."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from vae import provenance
from vae.errors import UserError
from vae.grid import Spec, folder
from vae.measures import linear_vae

SIDES = ("encoder", "decoder")


def gather(models: Path, baselines: Path, specs: list[Spec], seeds: list[int], evaluation: dict) -> pd.DataFrame:
    """One row per model, ranked by reconstruction from best to worst; diverged models come last.

    `baselines` is the folder of the stages `pixels`, `untrained` and `classifier`. `evaluation` has the thresholds
    `collapsed_below` (nats of KLD per image) and `active_above` (variance of the posterior's mean over the images).
    """
    columns = Baselines(baselines, specs)
    rows = pd.DataFrame(
        [_row(folder(models, spec, seed), spec, seed, evaluation, columns) for spec in specs for seed in seeds]
    )
    # Stable: ties keep the order of the grid.
    rows = rows.iloc[np.lexsort((rows["reconstruction"].fillna(np.inf), rows["status"] != "ok"))].reset_index(drop=True)
    rows.insert(0, "rank", rows.index + 1)
    return rows


def check(models: Path, specs: list[Spec], seeds: list[int], config: dict) -> None:
    """Raise UserError where a model was trained by another config than the study's, or on other data than the others.

    A job that outlives its Snakemake may leave such a model, when the config is changed meanwhile.
    """
    wanted = {"networks": config["networks"], "objective": config["objective"], "training": dict(config["training"])}
    del wanted["training"]["seeds"]
    data = None
    for path in (folder(models, spec, seed) / "provenance.json" for spec in specs for seed in seeds):
        training = provenance.read(path)
        data = data or training["dataset"]
        differing = [
            f"{section}.{key}"
            for section, values in wanted.items()
            for key, value in values.items()
            if training["config"][section].get(key) != value
        ]
        if differing or training["dataset"] != data:
            what = (
                f"with another {differing[0]} than the study's"
                if differing
                else "on other data than the models before it"
            )
            raise UserError(f"{path}: trained {what}; delete it and run again")


class Baselines:
    """What the stages `pixels`, `untrained` and `classifier` have measured, as columns of the table of models."""

    def __init__(self, folder: Path, specs: list[Spec]):
        self.pixels = provenance.read(folder / "pixels.json")
        self.classifier = provenance.read(folder / "classifier.json")
        encoders = dict.fromkeys(str(spec.encoder) for spec in specs)
        self.untrained = {name: provenance.read(folder / "untrained" / f"{name}.json") for name in encoders}

    def of(self, spec: Spec, seed: int, effective_beta: float) -> dict:
        """The columns of a model."""
        size = str(spec.latent_size)
        kinds = {
            "pixels": self.pixels["pixels"],
            "pca": self.pixels["pca"][size],
            "untrained": self.untrained[str(spec.encoder)][size][str(seed)],
        }
        theory = linear_vae.kld_per_dimension(np.array(self.pixels["spectrum"]), effective_beta, spec.latent_size)
        return {
            **{f"{name}_{kind}": measures[name] for name in self.pixels["pixels"] for kind, measures in kinds.items()},
            **{name: self.classifier.get(name) for name in ("frechet_floor", "frechet_ceiling", "classifier_accuracy")},
            "linear_kld": theory.sum(),
            "linear_active_units": int((theory > 0).sum()),
        }


def _row(path: Path, spec: Spec, seed: int, evaluation: dict, baselines: Baselines) -> dict:
    names = ("metrics", "codes", "export", "provenance", "likelihood", "samples")
    files = {name: provenance.read(path / f"{name}.json") for name in names}
    metrics, training = files["metrics"], files["provenance"]
    ok = metrics["status"] == "ok"
    differences = [v for side in files["export"]["largest_relative_difference"].values() for v in side.values()]
    return {
        "label": str(spec),
        "latent_size": spec.latent_size,
        "encoder": str(spec.encoder),
        "decoder": str(spec.decoder),
        "seed": seed,
        "status": metrics["status"],
        # Of a model that diverged, nothing that is measured means anything.
        **{name: value if ok else None for name, value in _measured(files, evaluation, ok).items()},
        "collapsed_below": evaluation["collapsed_below"],
        "mutual_information_ceiling": files["codes"]["mutual_information_ceiling"],
        "mean_image_reconstruction": metrics["mean_image_reconstruction"],
        **baselines.of(spec, seed, metrics["effective_beta"]),
        "effective_beta": metrics["effective_beta"],
        **{f"{side}_{what}": metrics[f"{side}_{what}"] for what in ("parameters", "flops") for side in SIDES},
        "export_difference": max(differences, default=None),
        "epochs": metrics["epochs"],
        **{name: training[name] for name in ("seconds", "images_per_second", "device")},
        "dataset_sha256": training["dataset"]["sha256"],
    }


def _measured(files: dict[str, dict], evaluation: dict, ok: bool) -> dict:
    """The measures of a model: its losses, all numbers of its codes, and the distance of its samples."""
    metrics = files["metrics"]
    return {
        **{name: metrics[name] for name in ("reconstruction", "kld", "elbo", "reconstruction_per_pixel")},
        **{name: files["likelihood"][name] for name in ("likelihood_bound", "likelihood_bound_error")},
        "collapsed": ok and metrics["kld"] < evaluation["collapsed_below"],
        "active_units": ok and sum(v > evaluation["active_above"] for v in metrics["mean_variance_per_dimension"]),
        **{name: value for name, value in files["codes"].items() if name != "provenance"},
        "frechet_distance": files["samples"]["frechet_distance"],
    }


def read(path: str | Path, needed: Collection[str] = ("label", "reconstruction", "kld", "status")) -> pd.DataFrame:
    """Read a table back, that of models by default; UserError where it is missing or lacks a needed column."""
    try:
        rows = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a table ({error})") from None
    if missing := set(needed) - set(rows):
        raise UserError(f"{path}: not the table that is expected (has no column {', '.join(sorted(missing))})")
    return rows
