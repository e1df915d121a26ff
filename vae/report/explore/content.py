"""The content of the explore page.

Beside the table of models that is what a picture of each needs: its training curve, the KLD of every latent dimension,
reconstructions and samples, and where it puts some test images in the plane of two principal components. A large study
keeps these details for some models, and thins the table.
"""

import base64
import io
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from vae import provenance, seeds
from vae.analysis import table
from vae.data import dataset as data
from vae.files import read_json, read_npz
from vae.grid import Network, Spec, folder
from vae.measures.linear_vae import kld_per_dimension
from vae.report.figures.drawing import BLUE, GREEN, GREY, ORANGE, class_colours
from vae.report.figures.nats import PARTS, by_complexity, parts

# Models of a table that stays whole, and of which details are kept; test images in planes; dimensions of the KLD.
LISTED, DETAILED, SHOWN, DIMENSIONS = 2000, 120, 300, 64
TRAVERSED = 10  # latent dimensions with a slider
# Datasets whose figures fill 20 of 28 pixels around their centre of mass, which drawings are brought to.
CENTRED = "q?mnist|mnist_sample|emnist_.*"
ACROSS = 20  # images in a row of a sheet
FAMILIES = {"LIN": GREY, "DNN": BLUE, "CNN": ORANGE, "RES": GREEN}
MORE_FAMILIES = ["#CC79A7", "#56B4E9", "#D55E00", "#F0E442"]  # of Okabe & Ito too

# Columns with a heading of their own, and what they mean; others are called by their names.
COLUMNS = {
    "rank": ("rank", "rank by reconstruction of validation images; 1 is the best"),
    "label": ("model", "latent size, encoder and decoder; DNN is dense, CNN convolutional, the number is the depth"),
    "seed": ("seed", "repetition with other initial weights and another order of images"),
    "latent_size": ("latent size", "dimensions of the code"),
    "encoder": ("encoder", "the network that maps an image to the mean and the variance of its code"),
    "decoder": ("decoder", "the network that maps a code to an image"),
    "reconstruction": ("distortion", "reconstruction loss, in nats per test image: less is better"),
    "kld": ("rate (KLD)", "information that the code carries about an image, in nats per test image"),
    "loss": ("−ELBO", "rate plus distortion, in nats per test image: less is better"),
    "iwae_bound": ("IWAE bound", "importance-weighted bound on log p(x), in nats per image: more is better"),
    "collapsed": ("collapsed", "whether the code carries no information about the image"),
    "active_units": ("active units", "latent dimensions whose means vary from image to image"),
    "coding_units": ("coding dimensions", "latent dimensions whose KLD is above 0.05 nats"),
    "probe_accuracy": ("probe accuracy", "of a linear classifier of the means of codes, on test images"),
    "probe_accuracy_sampled": ("probe accuracy, sampled", "of a linear classifier of codes with their noise"),
    "knn_accuracy": ("kNN accuracy", "of the nearest neighbours of the means of codes, on test images"),
    "silhouette": ("silhouette", "how well classes are separated in the code, from −1 to 1"),
    "frechet_distance": ("FID-style distance", "between samples and test images: less is better"),
    "amortisation_gap": (
        "amortisation gap",
        "nats that the encoder loses against the best diagonal Gaussian of each image",
    ),
    "approximation_gap": ("approximation gap", "nats that the best diagonal Gaussian loses against the true posterior"),
    "effective_beta": ("effective beta", "the weight of the rate against the distortion in the objective"),
    "encoder_parameters": ("encoder parameters", "trained weights of the encoder"),
    "decoder_parameters": ("decoder parameters", "trained weights of the decoder"),
    "slack": ("slack", "nats that the model is above its optimum at least, shown by another model of its architecture"),
    "status": ("status", "ok or diverged; a diverged model cannot be used"),
    "seconds": ("seconds", "time of training"),
}
LEFT_OUT = {"dataset_sha256", "device", "elbo", "variant"}


def study(results: Path, dataset: Path, rows: pd.DataFrame, live: bool = False) -> dict[str, Any]:
    """The content of a study: its table, thinned to `LISTED` models, and the details of `DETAILED` of them.

    Where the page is `live`, the axes of planes too, which place the codes of a drawing.
    """
    images = data.load(dataset)
    rows = rows.assign(loss=rows["reconstruction"].astype(float) + rows["kld"].astype(float))
    listed = _thinned(rows)
    shown = np.sort(seeds.draw(len(images.test_images), SHOWN))
    spectra = read_json(results / "baselines/pixels.json")["spectra"]
    examples = None
    details = {}
    for place in np.flatnonzero(_chosen(listed)).tolist():
        details[place], examples = _details(results / "models", listed.iloc[place], shown, spectra, live)
    classes = sorted(set(images.test_labels.tolist())) if images.test_labels is not None else []
    columns = _columns(listed)
    needed = {*COLUMNS, *(column["name"] for column in columns)}
    return {
        "models": len(rows),
        "objective": _objective(results / "models", rows),
        "columns": columns,
        "rows": {name: _values(listed[name]) for name in listed.columns if name in needed},
        "details": details,
        "images": {
            "shape": list(images.test_images.shape[1:]),
            "sheet": _sheet(images.test_images[shown], lossless=True),  # models are asked about these
            "count": len(shown),
            "across": ACROSS,
            "labels": None if images.test_labels is None else images.test_labels[shown].tolist(),
            "classes": classes,
            "class_names": [images.class_name(label) for label in classes],
            "examples": None if examples is None else _sheet(images.test_images[examples]),
            "reconstructed": 0 if examples is None else len(examples),
            "binarised": images.binarised,
            "centred": re.fullmatch(CENTRED, images.name) is not None,
        },
        "colours": {"families": _families(rows), "classes": class_colours(len(classes))},
        "constant": _number(rows["mean_image_reconstruction"].max()),
        "parts": _parts(table.base(rows)),
    }


def _objective(models: Path, rows: pd.DataFrame) -> dict[str, Any]:
    """The likelihood that the models were trained with, its sigma and the KLD's warm-up, where no sweep says others."""
    first = rows.iloc[0]
    path = folder(models, Spec.parse(first["label"]), first["seed"]) / "provenance.json"
    objective = provenance.read(path)["config"]["objective"]
    return {key: objective[key] for key in ("likelihood", "sigma", "kl_warmup")}


def _thinned(rows: pd.DataFrame) -> pd.DataFrame:
    """The table, or of a large one `LISTED` rows evenly from the best to the worst."""
    if len(rows) <= LISTED:
        return rows.reset_index(drop=True)
    places = np.unique(np.linspace(0, len(rows) - 1, LISTED).round().astype(int))
    return rows.iloc[places].reset_index(drop=True)


def _chosen(rows: pd.DataFrame) -> np.ndarray:
    """Of which models details are kept, `[N]`: all; of many the best, the median and the worst, and those of the front.

    The front are models that no other of their latent size surpasses in both rate and distortion.
    """
    usable = (rows["status"] == "ok").to_numpy()
    if usable.sum() <= DETAILED:
        return usable
    places, share = np.flatnonzero(usable), DETAILED // 4
    middle = len(places) // 2 - share // 2
    chosen = np.zeros(len(rows), bool)
    chosen[[*places[:share], *places[middle : middle + share], *places[-share:]]] = True
    front = [place for place in np.flatnonzero(_front(rows) & usable) if not chosen[place]]
    chosen[front[: DETAILED - chosen.sum()]] = True
    return chosen


def _front(rows: pd.DataFrame) -> np.ndarray:
    """Which models no other of their latent size surpasses in both rate and distortion, `[N]`."""
    on_front = np.zeros(len(rows), bool)
    for _, of_size in rows.groupby("latent_size"):
        ordered = of_size.sort_values(["kld", "reconstruction"])
        distortion = ordered["reconstruction"].astype(float)
        before = distortion.cummin().shift(fill_value=np.inf)
        on_front[ordered.index[distortion < before]] = True
    return on_front


def _details(
    models: Path, row: pd.Series, shown: np.ndarray, spectra: dict, live: bool
) -> tuple[dict[str, Any], np.ndarray]:
    """The details of a model beside its numbers; and which test images are reconstructed."""
    path = folder(models, Spec.parse(row["label"]), row["seed"])
    history = table.read(path / "history.csv", table.HISTORY)
    klds = np.array(read_json(path / "metrics.json")["kld_per_dimension"])
    order = np.argsort(-klds, kind="stable")
    variant = row.get("variant", "")
    spectrum = np.array(spectra.get(variant, spectra[""]))
    linear = kld_per_dimension(spectrum, row["effective_beta"], row["latent_size"])
    axes = ("centre", "axes") if live else ()
    codes = read_npz(path / "codes.npz", "components", optional=axes)
    examples = read_npz(path / "examples.npz", "indices", "reconstructions", "samples")
    return {
        "history": {name: _values(history[name]) for name in ("epoch", "reconstruction", "kld")},
        "klds": _values(klds[order][:DIMENSIONS]),
        "order": order[:TRAVERSED].tolist(),
        "linear": _values(linear[:DIMENSIONS]),
        "plane": _plane(codes["components"][shown])
        | {name: codes[name].astype(float).round(5).tolist() for name in axes if name in codes},
        "reconstructions": _sheet(examples["reconstructions"]),
        "samples": _sheet(examples["samples"]),
    }, examples["indices"]


def _plane(points: np.ndarray) -> dict[str, Any]:
    """Points `[N, 2]` in a square: base64 of little-endian numbers of 16 bits, and its middle and its side."""
    low, high = points.min(0), points.max(0)
    middle, side = (low + high) / 2, max(float((high - low).max()), float(np.finfo(np.float32).tiny))
    placed = ((points - middle) / side + 0.5) * 65535
    encoded = base64.b64encode(placed.round().astype("<u2").tobytes()).decode()
    return {"points": encoded, "middle": middle.tolist(), "side": side}


def _sheet(images: np.ndarray, lossless: bool = False) -> str:
    """Images `uint8 [N, H, W]` or `[N, C, H, W]` in rows of `ACROSS`, as the URL of a picture that holds them."""
    planes = images[:, None] if images.ndim == 3 else images
    channels, height, width = planes.shape[1:]
    if channels not in (1, 3):
        planes, channels = planes[:, :1], 1
    across = min(ACROSS, len(planes))
    lines = math.ceil(len(planes) / across)
    sheet = np.zeros((lines * across, channels, height, width), np.uint8)
    sheet[: len(planes)] = planes
    grid = sheet.reshape(lines, across, channels, height, width).transpose(0, 3, 1, 4, 2)
    picture = Image.fromarray(grid.reshape(lines * height, across * width, channels).squeeze())
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=75, method=6, lossless=lossless)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _columns(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Columns of the table that tell models apart, those with a heading of their own first."""
    names = [str(name) for name in rows]
    headed = [name for name in COLUMNS if name in names]
    others = [name for name in names if name not in COLUMNS and name not in LEFT_OUT]
    varying = [name for name in headed + others if name in ("label", "seed") or rows[name].nunique(dropna=False) > 1]
    described = {name: (name.replace("_", " "), f"the column {name} of models.csv") for name in others} | COLUMNS
    return [
        {
            "name": name,
            "heading": described[name][0],
            "help": described[name][1],
            "numeric": pd.api.types.is_numeric_dtype(rows[name]) and not pd.api.types.is_bool_dtype(rows[name]),
            "first": name in COLUMNS,
        }
        for name in varying
    ]


def _parts(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The parts of the losses of each encoder and decoder, means over seeds, where gaps were measured."""
    if "amortisation_gap" not in rows or rows["amortisation_gap"].isna().all():
        return []
    of_models, listed = parts(rows[rows["status"] == "ok"]), []
    for encoder in by_complexity(rows["encoder"]):
        for (size, decoder), models in of_models[of_models["encoder"] == encoder].groupby(["latent_size", "decoder"]):
            for column, (name, colour) in PARTS.items():
                nats = _number(float(models[column].mean()))
                listed.append({"latent_size": size, "encoder": encoder, "decoder": decoder, "part": name, "nats": nats})
                listed[-1]["colour"] = colour
    return listed


def _families(rows: pd.DataFrame) -> dict[str, str]:
    """A colour for every family of encoders and decoders."""
    networks = {name for side in ("encoder", "decoder") for name in rows[side].unique()}
    names = sorted({Network.parse(name).family for name in networks})
    others = iter(MORE_FAMILIES * len(names))
    return {name: FAMILIES.get(name) or next(others) for name in names}


def _values(values: Any) -> list:
    """A column as JSON has it: five digits of a number, None for what is missing or not finite."""
    plain = (value.item() if isinstance(value, np.generic) else value for value in list(values))
    return [_number(value) if isinstance(value, float) else value for value in plain]


def _number(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None
