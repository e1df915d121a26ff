"""The table: one row per model. Every figure, count and claim is computed from it."""

from collections.abc import Collection
from functools import cache
from io import StringIO
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vae import provenance
from vae.analysis import certificate
from vae.errors import UserError
from vae.grid import FIXED, SWEPT, Spec, expand, folder, tuned, variants, varied
from vae.measures import linear_vae

SIDES = ("encoder", "decoder")
OF_GAPS = ("provenance", "images", "reason")  # what gaps.json has beside its measures
CODES = 0.05  # nats of KLD, from which on a latent dimension says something
HISTORY = ("epoch", "reconstruction", "kld")  # what figures and pages need of history.csv
# Losses of the test set stand alone, those of others behind the name of the set.
LOSSES, OTHERS = ("reconstruction", "kld", "elbo"), ("validation_", "train_")


def gather(results: Path, config: dict) -> pd.DataFrame:
    """One row per model, ranked by reconstruction of the validation images from best to worst; diverged ones come last.

    `results` is the folder of a study's results, and `config` its config.
    """
    specs, seeds = expand(config), config["training"]["seeds"]
    baselines, configs = Baselines(results / "baselines"), Configs(results, config)
    controls = Controls(results, config)
    rows = pd.DataFrame(
        [
            _row(folder(results / "models", spec, seed), spec, seed, config["evaluation"], baselines)
            | configs.columns(spec)
            | controls.columns(spec)
            for spec in specs
            for seed in seeds
        ]
    )
    rows["slack"] = certificate.slack(rows, config)
    # Stable: ties keep the order of the grid.
    scores = rows["validation_reconstruction"].fillna(np.inf)
    rows = rows.iloc[np.lexsort((scores, rows["status"] != "ok"))].reset_index(drop=True)
    rows.insert(0, "rank", rows.index + 1)
    return rows


def check(results: Path, config: dict) -> None:
    """Raise UserError where a model was trained by another config than the study's, or on other data than the others.

    Or with another file of families. A job that outlives its Snakemake may leave such a model, when the config is
    changed meanwhile.
    """
    data, configs, families = None, Configs(results, config), dict[str, dict]()
    for spec, seed in product(expand(config), config["training"]["seeds"]):
        path = folder(results / "models", spec, seed) / "provenance.json"
        training = provenance.read(path)
        data = data or training["dataset"]
        wanted = configs.of(spec)
        differing = [
            f"{section}.{key}"
            for section in SWEPT
            for key, value in wanted[section].items()
            if f"{section}.{key}" not in FIXED and training["config"][section].get(key) != value
        ]
        if differing or training["dataset"] != data:
            what = (
                f"with another {differing[0]} than the study's"
                if differing
                else "on other data than the models before it"
            )
            raise UserError(f"{path}: trained {what}; delete it and run again")
        for name, file in training.get("families", {}).items():
            if families.setdefault(name, file)["sha256"] != file["sha256"]:
                what = f"with another {file['path']} than the models before it"
                raise UserError(f"{path}: trained {what}; delete it and run again")


class Configs:
    """The config of every model of a study: that of its variant, with what was tuned for its pair."""

    def __init__(self, results: Path, config: dict):
        self.config, self.variants, self.tuned = config, variants(config), tuned(config)
        self.tuning = cache(lambda pair: provenance.read(results / f"tuning/{pair}.json"))

    def of(self, spec: Spec) -> dict:
        """The config that a model is trained by."""
        chosen = {self.tuned: self.tuning(spec.pair)["chosen"]} if self.tuned else {}
        return varied(self.config, self.variants[spec.variant] | chosen)

    def columns(self, spec: Spec) -> dict:
        """A model's variant, its value of every key that is swept or tuned, and what other values would have cost."""
        swept = list(self.config["grid"]["sweep"])
        config = self.of(spec)
        columns = {key: config[key.split(".")[0]][key.split(".")[1]] for key in [*swept, *filter(None, [self.tuned])]}
        if swept:
            columns = {"variant": spec.variant} | columns
        if self.tuned:
            tuning = self.tuning(spec.pair)
            columns |= {f"tuned_{name}": tuning[name] for name in ("at_edge", "cost_before", "cost_after")}
        return columns


class Controls:
    """The loss of the autoencoder of every pair, if a study trains it."""

    def __init__(self, results: Path, config: dict):
        self.on = config["evaluation"]["control"]
        self.of = cache(lambda pair: provenance.read(results / f"control/{pair}.json")["reconstruction"])

    def columns(self, spec: Spec) -> dict:
        """The column of a model; of those that a sweep has beside the config's own there is none."""
        if not self.on:
            return {}
        return {"autoencoder_reconstruction": None if spec.variant else self.of(spec.pair)[str(spec.latent_size)]}


class Baselines:
    """The measures of the stages `baselines` and `classifier`, as columns of the table of models."""

    def __init__(self, folder: Path):
        names = ("pixels", "untrained", "classifier", "truth")
        files = (provenance.read(folder / f"{name}.json") for name in names)
        self.pixels, self.untrained, self.classifier, self.truth = files

    def of(self, spec: Spec, seed: int, effective_beta: float) -> dict:
        """The columns of a model."""
        size = str(spec.latent_size)
        kinds = {
            "pixels": self.pixels["pixels"],
            "pca": self.pixels["pca"][size],
            "untrained": _of_variant(self.untrained[str(spec.encoder)], spec)[size][str(seed)],
        }
        spectrum = np.array(_of_variant(self.pixels["spectra"], spec))
        theory = linear_vae.kld_per_dimension(spectrum, effective_beta, spec.latent_size)
        return {
            **{f"{name}_{kind}": measures[name] for name in self.pixels["pixels"] for kind, measures in kinds.items()},
            **{name: self.classifier.get(name) for name in ("frechet_floor", "frechet_ceiling", "classifier_accuracy")},
            **{name: value for name, value in self.truth.items() if name != "provenance"},
            "linear_kld": theory.sum(),
            "linear_active_units": int((theory > 0).sum()),
        }


def _of_variant(measured: dict, spec: Spec) -> Any:
    """A baseline's measures for the variant of a model, or for the config itself if they are the same."""
    return measured.get(spec.variant, measured[""])


def _row(path: Path, spec: Spec, seed: int, evaluation: dict, baselines: Baselines) -> dict:
    names = ["metrics", "codes", "export", "provenance", "likelihood", "samples"]
    names += ["gaps"] if evaluation["gap_images"] else []
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
        "encoder_features": metrics["encoder_features"],
        "export_difference": max(differences, default=None),
        "epochs": metrics["epochs"],
        **{name: training[name] for name in ("seconds", "images_per_second", "device")},
        "dataset_sha256": training["dataset"]["sha256"],
    }


def _measured(files: dict[str, dict], evaluation: dict, ok: bool) -> dict:
    """The measures of a model: its losses, all numbers of its codes, and the distance of its samples."""
    metrics = files["metrics"]
    return {
        **{f"{part}{name}": metrics[f"{part}{name}"] for part in ("", *OTHERS) for name in LOSSES},
        "reconstruction_per_pixel": metrics["reconstruction_per_pixel"],
        **{name: files["likelihood"][name] for name in ("iwae_bound", "iwae_bound_error")},
        "collapsed": ok and metrics["kld"] < evaluation["collapsed_below"],
        "active_units": ok and sum(v > evaluation["active_above"] for v in metrics["mean_variance_per_dimension"]),
        **(_of_dimensions(metrics["kld_per_dimension"]) if ok else dict.fromkeys(("coding_units", "effective_units"))),
        **{name: value for name, value in files["codes"].items() if name != "provenance"},
        **{name: value for name, value in files.get("gaps", {}).items() if name not in OF_GAPS},
        "frechet_distance": files["samples"]["frechet_distance"],
    }


def _of_dimensions(kld: list[float]) -> dict:
    """How many latent dimensions have a KLD above `CODES`; and how many would, if those that have one had the same.

    The latter is the exponential of the entropy of the shares of the KLD.
    """
    values = np.array(kld, float).clip(0)
    shares = values[values > 0] / values.sum()
    return {
        "coding_units": int((values > CODES).sum()),
        "effective_units": float(np.exp(-(shares * np.log(shares)).sum())),
    }


def base(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the config itself, without what a sweep has beside them: those that architectures are compared by."""
    return rows[rows["variant"].isna() | (rows["variant"] == "")] if "variant" in rows else rows


def read(path: str | Path, needed: Collection[str] = ("label", "validation_reconstruction", "status")) -> pd.DataFrame:
    """Read a table back, that of models by default; UserError where it is missing, damaged or lacks a needed column."""
    return read_csv(path, needed, "table")


def read_csv(path: str | Path, needed: Collection[str], kind: str, **how: Any) -> pd.DataFrame:
    """A CSV as pandas reads it with the options `how`; UserError where it is missing, damaged or lacks a column.

    `kind` is what it is called there. Every table of a study ends on a line break: one that does not has been cut.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        if not text.endswith("\n"):
            raise ValueError("it is empty, or cut off before its end")
        rows = pd.read_csv(StringIO(text), **how)
    except OSError as error:
        raise UserError(f"{path}: not a {kind} ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"{path}: not a {kind} ({error}); delete it and run again") from None
    if missing := set(needed) - set(rows):
        raise UserError(f"{path}: not the {kind} that is expected (has no column {', '.join(sorted(missing))})")
    return rows
