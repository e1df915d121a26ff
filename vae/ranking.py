"""The table: one row per model. Every figure, count and claim is computed from it."""

from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd

from vae.errors import UserError
from vae.files import read_json
from vae.grid import Network, Spec, folder


def table(models: Path, specs: list[Spec], seeds: list[int], evaluation: dict) -> pd.DataFrame:
    """One row per model, ranked by reconstruction from best to worst; diverged models come last.

    `evaluation` has the thresholds `collapsed_below` (nats of KLD per image) and `active_above` (variance of the
    posterior's mean over the images).
    """
    rows = pd.DataFrame([_row(folder(models, spec, seed), spec, seed, evaluation) for spec in specs for seed in seeds])
    # Stable: ties keep the order of the grid.
    rows = rows.iloc[np.lexsort((rows["reconstruction"].fillna(np.inf), rows["status"] != "ok"))].reset_index(drop=True)
    rows.insert(0, "rank", rows.index + 1)
    return rows


def _row(path: Path, spec: Spec, seed: int, evaluation: dict) -> dict:
    metrics, projection, exported, provenance, likelihood = (
        read_json(path / f"{name}.json") for name in ("metrics", "projection", "export", "provenance", "likelihood")
    )
    ok = metrics["status"] == "ok"
    losses = {
        name: metrics[name] if ok else None for name in ("reconstruction", "kld", "elbo", "reconstruction_per_pixel")
    }
    differences = [value for side in exported["largest_relative_difference"].values() for value in side.values()]
    explained = projection["explained_variance_ratio"]
    return {
        "label": str(spec),
        "latent_size": spec.latent_size,
        "encoder": str(spec.encoder),
        "decoder": str(spec.decoder),
        "seed": seed,
        "status": metrics["status"],
        **losses,
        **{name: likelihood[name] if ok else None for name in ("likelihood_bound", "likelihood_bound_error")},
        "collapsed": losses["kld"] < evaluation["collapsed_below"] if ok else None,
        "collapsed_below": evaluation["collapsed_below"],
        "active_units": sum(v > evaluation["active_above"] for v in metrics["mean_variance_per_dimension"])
        if ok
        else None,
        "effective_beta": metrics["effective_beta"],
        "encoder_parameters": metrics["encoder_parameters"],
        "decoder_parameters": metrics["decoder_parameters"],
        "encoder_flops": metrics["encoder_flops"],
        "decoder_flops": metrics["decoder_flops"],
        "mean_image_reconstruction": metrics["mean_image_reconstruction"],
        "explained_variance_2": sum(explained[:2]) if ok and explained else None,
        "silhouette": projection["silhouette"] if ok else None,
        "knn_accuracy": projection["knn_accuracy"] if ok else None,
        "mutual_information": projection["mutual_information"] if ok else None,
        "mutual_information_ceiling": projection["mutual_information_ceiling"],
        "export_difference": max(differences, default=None),
        "epochs": metrics["epochs"],
        "seconds": provenance["seconds"],
        "images_per_second": provenance["images_per_second"],
        "device": provenance["device"],
        "dataset_sha256": provenance["dataset"]["sha256"],
    }


def read(path: str | Path) -> pd.DataFrame:
    """Read the table back; UserError where the file is missing or is not it."""
    try:
        rows = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a table of models ({error})") from None
    if missing := {"label", "reconstruction", "kld", "status"} - set(rows):
        raise UserError(f"{path}: not a table of models (has no column {', '.join(sorted(missing))})")
    return rows


def by_architecture(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per label, ranked by reconstruction: means over the seeds that did not diverge, and their extremes.

    Adds `<loss>_low` and `<loss>_high`, `seeds` (how many count) and `diverged` (how many do not). A label is collapsed
    where its mean KLD is. Labels of which every seed diverged come last, with NaN for losses.
    """
    ok = rows[rows["status"] == "ok"]
    names = ["label", "latent_size", "encoder", "decoder"]
    labels = rows[names].drop_duplicates().set_index("label")
    for loss in ("reconstruction", "kld"):
        groups = ok.groupby("label")[loss]
        labels[loss], labels[f"{loss}_low"], labels[f"{loss}_high"] = groups.mean(), groups.min(), groups.max()
    labels["seeds"] = ok.groupby("label").size().reindex(labels.index, fill_value=0)
    labels["diverged"] = rows.groupby("label").size() - labels["seeds"]
    labels["collapsed"] = labels["kld"] < rows["collapsed_below"].iloc[0]
    labels = labels.sort_values("reconstruction", kind="stable").reset_index()
    labels.insert(0, "rank", labels.index + 1)
    return labels


def top(labels: pd.DataFrame, fraction: float) -> pd.DataFrame:
    """The best `fraction` of ranked labels, rounded up, without those that diverged."""
    return labels.head(ceil(fraction * len(labels))).dropna(subset="reconstruction")


def counts(labels: pd.DataFrame, fraction: float) -> pd.DataFrame:
    """How often each latent size, encoder and decoder is among the best `fraction`, beside how often it is in the grid.

    Columns: by, value, top, models, and expected, the count that chance would give.
    """
    best = top(labels, fraction)
    parts = []
    for by in ("latent_size", "encoder", "decoder"):
        models = labels[by].value_counts().sort_index(key=None if by == "latent_size" else network_order)
        part = pd.DataFrame({"top": best[by].value_counts().reindex(models.index, fill_value=0), "models": models})
        part["expected"] = part["models"] * len(best) / len(labels)
        part.insert(0, "by", by)
        parts.append(part.rename_axis("value").reset_index())
    return pd.concat(parts, ignore_index=True)[["by", "value", "top", "models", "expected"]]


def network_order(networks: pd.Index) -> pd.Index:
    """A key that sorts networks by family and depth: CNN2 before CNN16."""
    return networks.map(Network.parse)
