"""A trained model as a folder to publish, as the Hugging Face Hub lays models out: card, weights, graphs, test data."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from onnx import numpy_helper
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from export.model import Decoder
from export.quantise import quantise
from export.runtime import content, open_session, run
from vae import __version__, provenance
from vae.data import dataset
from vae.data.dataset import Dataset
from vae.errors import UserError
from vae.files import check_writable, sha256, verify, write_bytes, write_text
from vae.grid import parse_folder

COPIED = ("encoder.onnx", "decoder.onnx", "provenance.json", "metrics.json", "export.json")
INT8 = ("encoder.int8.onnx", "encoder.int8.json")
# What the Hub calls datasets that this package knows.
DATASETS = {"mnist": "ylecun/mnist", "fashion_mnist": "zalando-datasets/fashion_mnist"}
# Columns of the table that the card and its model-index have: names for people, and for the Hub.
METRICS = {
    "elbo": ("ELBO, nats per image", "elbo"),
    "reconstruction": ("reconstruction, nats per image", "reconstruction_loss"),
    "kld": ("KLD, nats per image", "kl_divergence"),
    "iwae_bound": ("IWAE bound on log p(x), nats per image", "iwae_bound"),
    "active_units": ("active units", "active_units"),
    "probe_accuracy": ("accuracy of a linear probe of the means", "accuracy"),
    "frechet_distance": ("FID-style distance of samples", "frechet_distance"),
}
EXAMPLES = 3  # images and codes of the test data


def bundle(folder: Path, target: Path, row: pd.Series, results: Path) -> None:
    """Write the model of a study's folder to the folder `target`, which must not exist.

    `row` is the model's row of the table of models, and `results` the folder of the study. Raises UserError for a model
    that diverged, for one whose files are missing or damaged, and for a target that exists.
    """
    if row["status"] != "ok":
        raise UserError(f"{folder}: this model diverged: there is nothing to publish")
    if target.exists():
        raise UserError(f"{target}: already exists; choose another name, or delete it")
    check_writable(target.parent)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of one that was interrupted
    partial.mkdir(parents=True)
    try:
        _fill(folder, partial, row, dataset.load(results / "data/dataset.npz"))
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _fill(folder: Path, target: Path, row: pd.Series, data: Dataset) -> None:
    for name in COPIED:
        write_bytes(target / name, content(folder / name) if name.endswith(".onnx") else (folder / name).read_bytes())
    _int8(folder, target, data)
    training = provenance.read(folder / "provenance.json")
    spec, _ = parse_folder(folder)
    weights = (folder / "weights.safetensors").read_bytes()
    verify(folder / "weights.safetensors", training["sha256"]["weights.safetensors"], weights)
    tensors = load_tensors(weights)
    about = {"format": "pt", "label": row["label"], "seed": str(row["seed"]), "package": __version__}
    write_bytes(target / "model.safetensors", save_tensors(tensors, about))
    config = {
        "model_type": "vae",
        "library": f"vae-architectures {__version__}",
        "label": row["label"],
        "encoder": spec.encoder,
        "decoder": spec.decoder,
        "latent_size": spec.latent_size,
        "image_shape": training["image_shape"],
        "pixel_range": [0, 255],
    } | training["config"]
    write_text(target / "config.json", json.dumps(config, indent=2, default=str) + "\n")
    images = data.test_images[:EXAMPLES]
    encoded = run(open_session(target / "encoder.onnx", 1), images)
    _test_data(target / "test_data_set_0", images, encoded)
    decoded = Decoder.load(target, 1).probabilities(encoded[0])
    _test_data(target / "test_data_set_0_decoder", encoded[0], [decoded])
    write_text(target / "README.md", card(target, row, training, data))
    files = sorted(path for path in target.rglob("*") if path.is_file())
    sums = [f"{sha256(path.read_bytes())}  {path.relative_to(target).as_posix()}" for path in files]
    write_text(target / "SHA256SUMS", "\n".join(sums) + "\n")


def _int8(folder: Path, target: Path, data: Dataset) -> None:
    """The encoder in 8-bit integers: that of the folder, or one that is made here, as the stage `quantise` makes it."""
    if all((folder / name).is_file() for name in INT8):
        for name in INT8:
            shutil.copy(folder / name, target)
        return
    quantise(target, data.validation_images)


def _test_data(folder: Path, given: np.ndarray, outputs: list[np.ndarray]) -> None:
    """Inputs and outputs as the ONNX Model Zoo keeps them: a serialised tensor each."""
    tensors = {"input_0": given} | {f"output_{i}": output for i, output in enumerate(outputs)}
    for name, tensor in tensors.items():
        write_bytes(folder / f"{name}.pb", numpy_helper.from_array(tensor, name).SerializeToString())


def _error(target: Path, images: np.ndarray) -> float:
    """The root mean square error of the means in 8-bit integers, over the spread of the means."""
    whole, small = (run(open_session(target / name, 1), images)[0] for name in ("encoder.onnx", "encoder.int8.onnx"))
    return float(np.sqrt(((small - whole) ** 2).mean()) / whole.std())


def card(target: Path, row: pd.Series, training: dict, data: Dataset) -> str:
    """The README.md of a bundle: what the model is, how to use it, how good it is, and what it cannot do."""
    metrics = [(name, key, row[column]) for column, (name, key) in METRICS.items() if _is_known(row, column)]
    facts = {
        "name": training["dataset"]["name"], "sha256": training["dataset"]["sha256"],
        "test_images": len(data.test_images),
    }  # fmt: skip
    shape, beta = "×".join(map(str, training["image_shape"])), row["effective_beta"]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("card.md").render(
        front=yaml.safe_dump(_front(row, facts, metrics), sort_keys=False, allow_unicode=True),
        label=row["label"], row=row, encoder=row["encoder"], decoder=row["decoder"], shape=shape,
        batch=f"[N, {', '.join(map(str, training['image_shape']))}]", dataset=facts,
        images=training["config"]["training"]["images"] or len(data.train_images),
        training=training["config"]["training"], collapsed=bool(row["collapsed"]), metrics=metrics,
        int8={"error": _error(target, data.test_images[:1000])}, binarised=data.binarised,
        version=__version__, device=training["device"],
        number=lambda value: f"{value:.4g}",
        beta=(
            "The KLD has the weight that it has in the evidence lower bound." if beta == 1 else
            f"In what was minimised, the KLD weighs {beta:.4g} times as much as in the evidence lower bound."
        ),
    )  # fmt: skip


def _is_known(row: pd.Series, column: str) -> bool:
    return column in row and pd.notna(row[column])


def _front(row: pd.Series, facts: dict, metrics: list[tuple[str, str, float]]) -> dict:
    """The metadata of the card, as the Hub reads it (its documentation of model cards, `model-index`)."""
    known, task = DATASETS.get(facts["name"]), {"type": "image-feature-extraction", "name": "Image Feature Extraction"}
    described = {"type": known or facts["name"], "name": facts["name"], "split": "test"}
    values = [{"type": key, "name": name, "value": float(value)} for name, key, value in metrics]
    return {
        "license": "mit",
        "library_name": "onnx",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["vae", "variational-autoencoder", "representation-learning", "onnx"],
        **({"datasets": [known]} if known else {}),
        "model-index": [
            {"name": row["label"], "results": [{"task": task, "dataset": described, "metrics": values}]},
        ],
    }
