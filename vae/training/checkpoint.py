"""A trained model on disk: weights, metrics, history and provenance in one folder."""

import csv
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from vae import provenance
from vae.errors import UserError
from vae.files import replacing, sha256, verify, write_bytes
from vae.grid import parse_folder
from vae.models.networks import Networks
from vae.models.own import check_files, files_of
from vae.models.vae import VAE, build
from vae.provenance import Origin
from vae.training.devices import describe, peak_memory
from vae.training.loop import Trained
from vae.training.recipe import Recipe
from vae.training.state import Progress

ORIGIN = Origin("train")


def identity(folder: Path, recipe: Recipe, dataset: dict, device: torch.device) -> dict:
    """All that decides the numbers of a model, beside source and versions; `dataset` is what its .json says of it."""
    spec, seed = parse_folder(folder)
    return {
        "label": str(spec),
        "seed": seed,
        "image_shape": dataset["image_shape"],
        "families": files_of(spec),
        "config": asdict(recipe),
        "dataset": {key: dataset[key] for key in ("name", "sha256")},
        "device": describe(device),
        "threads": torch.get_num_threads(),
    }


def progress(folder: Path, recipe: Recipe, dataset: dict, device: torch.device) -> Progress:
    """Where the unfinished training of the model of a folder is kept."""
    made_by = provenance.stamp(ORIGIN.stage) | identity(folder, recipe, dataset, device)
    return Progress(folder / "unfinished.safetensors", made_by)


def save(folder: Path, trained: Trained, metrics: dict, recipe: Recipe, dataset: dict, origin: Origin = ORIGIN) -> None:
    """Write weights.safetensors, metrics.json, history.csv and provenance.json to `folder`.

    `dataset` is what the dataset's .json says of it; `origin` has the command that reproduces the model.
    """
    device = next(trained.model.parameters()).device
    weights = safetensors.torch.save(
        {name: value.contiguous().cpu() for name, value in trained.model.state_dict().items()}
    )
    write_bytes(folder / "weights.safetensors", weights)
    with replacing(folder / "history.csv") as partial, open(partial, "w", newline="") as stream:
        writer = csv.DictWriter(stream, trained.history[0])
        writer.writeheader()
        writer.writerows(trained.history)
    facts = identity(folder, recipe, dataset, device)
    cost = {
        "trained_together": trained.together,
        "peak_memory_bytes": peak_memory(device),
        "seconds": trained.seconds,
        "images_per_second": trained.images_per_second,
    }
    files = {"sha256": {"weights.safetensors": sha256(weights)}}
    provenance.write(folder / "provenance.json", facts | cost | files, origin)
    names = {key: facts[key] for key in ("label", "seed")}
    provenance.write(folder / "metrics.json", names | metrics, origin)


def load(folder: Path) -> VAE:
    """The model of a folder, on the CPU, in evaluation mode; UserError where its files are missing or do not fit."""
    spec, _ = parse_folder(folder)
    facts, weights = provenance.read(folder / "provenance.json"), folder / "weights.safetensors"
    try:
        content = weights.read_bytes()
        verify(weights, facts["sha256"]["weights.safetensors"], content)
        tensors = safetensors.torch.load(content)
        check_files(folder, facts.get("families", {}))
        made_of = spec, tuple(facts["image_shape"]), Networks(**facts["config"]["networks"])
        with torch.device("meta"):  # memory is taken for a model of the size of these weights, and for no other
            model = VAE(*made_of)
        if _kinds(model.state_dict()) != _kinds(tensors):
            raise ValueError("the weights are those of another model")
        if spec.encoder.is_own or spec.decoder.is_own:  # modules of the user's may hold more than weights
            model = build(*made_of, seed=0)
        model.load_state_dict(tensors, assign=True)
    except FileNotFoundError:
        raise UserError(f"{weights}: no such file") from None
    except (
        safetensors.SafetensorError,
        RuntimeError,
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
        AttributeError,
    ) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{folder}: weights and provenance do not fit ({reason}); delete the folder and run again"
        ) from None
    return model.eval()


def _kinds(tensors: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (value.shape, value.dtype) for name, value in tensors.items()}
