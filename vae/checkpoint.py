"""A trained model on disk: weights, metrics, history and provenance in one folder."""

import csv
import importlib.metadata
import platform
from dataclasses import asdict
from pathlib import Path

import safetensors.torch
import torch

from vae import __version__
from vae.device import describe, peak_memory
from vae.errors import UserError
from vae.files import read_json, replacing, sha256, write_bytes, write_json
from vae.grid import parse_folder
from vae.networks import VAE, Widths
from vae.training import Recipe, Trained

PACKAGES = ("torch", "numpy", "safetensors")


def save(folder: Path, trained: Trained, metrics: dict, recipe: Recipe, dataset: dict) -> None:
    """Write weights.safetensors, metrics.json, history.csv and provenance.json to `folder`.

    `dataset` is what the dataset's .json says of it.
    """
    spec, seed = parse_folder(folder)
    device = next(trained.model.parameters()).device
    weights = {name: value.contiguous().cpu() for name, value in trained.model.state_dict().items()}
    write_bytes(folder / "weights.safetensors", safetensors.torch.save(weights))
    with replacing(folder / "history.csv") as partial, open(partial, "w", newline="") as stream:
        writer = csv.DictWriter(stream, trained.history[0])
        writer.writeheader()
        writer.writerows(trained.history)
    provenance = {
        "label": str(spec),
        "seed": seed,
        "image_shape": dataset["image_shape"],
        "config": asdict(recipe),
        "dataset": {key: dataset[key] for key in ("name", "sha256")},
        "package": {"version": __version__, "sha256": sha256(sorted(Path(__file__).parent.glob("*.py")))},
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "device": describe(device),
        "threads": torch.get_num_threads(),
        "trained_together": trained.together,
        "peak_memory_bytes": peak_memory(device),
        "seconds": trained.seconds,
        "images_per_second": trained.images_per_second,
    }
    write_json(folder / "provenance.json", provenance)
    write_json(folder / "metrics.json", {"label": str(spec), "seed": seed, **metrics})


def load(folder: Path) -> VAE:
    """The model of a folder, on the CPU, in evaluation mode; UserError where its files are missing or do not fit."""
    spec, _ = parse_folder(folder)
    provenance = read_json(folder / "provenance.json")
    weights = folder / "weights.safetensors"
    try:
        model = VAE(spec, tuple(provenance["image_shape"]), Widths(**provenance["config"]["networks"]))
        model.load_state_dict(safetensors.torch.load_file(weights))
    except FileNotFoundError:
        raise UserError(f"{weights}: no such file") from None
    except (safetensors.SafetensorError, RuntimeError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{folder}: weights and provenance do not fit ({reason}); delete the folder and run again"
        ) from None
    return model.eval()
