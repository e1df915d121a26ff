"""The table: one row per model. Every figure, count and claim is computed from it."""

from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from vae import linear, provenance
from vae.errors import UserError
from vae.grid import Network, Spec, folder

SIDES = ("encoder", "decoder")


def table(models: Path, references: Path, specs: list[Spec], seeds: list[int], evaluation: dict) -> pd.DataFrame:
    """One row per model, ranked by reconstruction from best to worst; diverged models come last.

    `references` is the folder of what models are held against. `evaluation` has the thresholds `collapsed_below` (nats
    of KLD per image) and `active_above` (variance of the posterior's mean over the images).
    """
    known = References(references, specs)
    rows = pd.DataFrame(
        [_row(folder(models, spec, seed), spec, seed, evaluation, known) for spec in specs for seed in seeds]
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
        found = provenance.read(path)
        data = data or found["dataset"]
        other = [
            f"{section}.{key}"
            for section, values in wanted.items()
            for key, value in values.items()
            if found["config"][section].get(key) != value
        ]
        if other or found["dataset"] != data:
            what = f"with another {other[0]} than the study's" if other else "on other data than the models before it"
            raise UserError(f"{path}: trained {what}; delete it and run again")


class References:
    """What the stages `pixels`, `untrained` and `classifier` have measured, as columns of the table."""

    def __init__(self, folder: Path, specs: list[Spec]):
        self.pixels = provenance.read(folder / "pixels.json")
        # Measures of the class in a code, each also had of the pixels, their components, and the untrained encoder.
        self.read = list(self.pixels["pixels"])
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
        theory = linear.kld_per_dimension(np.array(self.pixels["spectrum"]), effective_beta, spec.latent_size)
        return {
            **{f"{name}_{kind}": measures[name] for name in self.read for kind, measures in kinds.items()},
            **{name: self.classifier.get(name) for name in ("frechet_floor", "frechet_ceiling", "classifier_accuracy")},
            "linear_kld": theory.sum(),
            "linear_active_units": int((theory > 0).sum()),
        }


def _row(path: Path, spec: Spec, seed: int, evaluation: dict, references: References) -> dict:
    names = ("metrics", "projection", "export", "provenance", "likelihood", "samples")
    found = {name: provenance.read(path / f"{name}.json") for name in names}
    metrics, projection, training = found["metrics"], found["projection"], found["provenance"]
    ok = metrics["status"] == "ok"
    differences = [v for side in found["export"]["largest_relative_difference"].values() for v in side.values()]
    explained = projection["explained_variance_ratio"]
    measured = {
        **{name: metrics[name] for name in ("reconstruction", "kld", "elbo", "reconstruction_per_pixel")},
        **{name: found["likelihood"][name] for name in ("likelihood_bound", "likelihood_bound_error")},
        "collapsed": ok and metrics["kld"] < evaluation["collapsed_below"],
        "active_units": ok and sum(v > evaluation["active_above"] for v in metrics["mean_variance_per_dimension"]),
        **{name: projection[name] for name in references.read},
        "mutual_information": projection["mutual_information"],
        "explained_variance_2": sum(explained[:2]) if explained else None,
        "frechet_distance": found["samples"]["frechet_distance"],
    }
    return {
        "label": str(spec),
        "latent_size": spec.latent_size,
        "encoder": str(spec.encoder),
        "decoder": str(spec.decoder),
        "seed": seed,
        "status": metrics["status"],
        # Of a model that diverged, nothing that is measured means anything.
        **{name: value if ok else None for name, value in measured.items()},
        "collapsed_below": evaluation["collapsed_below"],
        "mutual_information_ceiling": projection["mutual_information_ceiling"],
        "mean_image_reconstruction": metrics["mean_image_reconstruction"],
        **references.of(spec, seed, metrics["effective_beta"]),
        "effective_beta": metrics["effective_beta"],
        **{f"{side}_{what}": metrics[f"{side}_{what}"] for what in ("parameters", "flops") for side in SIDES},
        "export_difference": max(differences, default=None),
        "epochs": metrics["epochs"],
        "seconds": training["seconds"],
        "images_per_second": training["images_per_second"],
        "device": training["device"],
        "dataset_sha256": training["dataset"]["sha256"],
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

    Columns: by, value, top, models, expected, the count that chance would give, and p, of Fisher's exact test of that,
    times the number of values compared (Bonferroni), up to 1.
    """
    best = top(labels, fraction)
    parts = []
    for by in ("latent_size", "encoder", "decoder"):
        models = labels[by].value_counts().sort_index(key=None if by == "latent_size" else network_order)
        part = pd.DataFrame({"top": best[by].value_counts().reindex(models.index, fill_value=0), "models": models})
        part["expected"] = part["models"] * len(best) / len(labels)
        rest = len(labels) - len(best)
        tests = (
            stats.fisher_exact([[inside, every - inside], [len(best) - inside, rest - every + inside]]).pvalue
            for inside, every in zip(part["top"], part["models"], strict=True)
        )
        part["p"] = np.minimum(np.fromiter(tests, float) * len(part), 1)
        part.insert(0, "by", by)
        parts.append(part.rename_axis("value").reset_index())
    return pd.concat(parts, ignore_index=True)[["by", "value", "top", "models", "expected", "p"]]


def network_order(networks: pd.Index) -> pd.Index:
    """A key that sorts networks by family and depth: CNN2 before CNN16."""
    return networks.map(Network.parse)
