"""The codes of one model, as measures take them."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vae.data.dataset import Dataset
from vae.files import read_npz


@dataclass(frozen=True)
class Latents:
    """Codes of validation images, to fit on, and of test images, to score on.

    `fit_mean` and `fit_log_variance` `[M, latent]` are posteriors of the validation images `fit_indices` `[M]`, `mean`
    and `log_variance` `[N, latent]` those of the test images; labels are `[M]` and `[N]`, factors `[M, factors]` and
    `[N, factors]`, or None in both. `scored` are indices of the test images that measures take which compare images
    with each other. `seed` is the model's.
    """

    fit_mean: np.ndarray
    fit_log_variance: np.ndarray
    mean: np.ndarray
    log_variance: np.ndarray
    fit_indices: np.ndarray
    scored: np.ndarray
    fit_labels: np.ndarray | None = None
    labels: np.ndarray | None = None
    seed: int = 0
    fit_factors: np.ndarray | None = None
    factors: np.ndarray | None = None
    factor_names: list[str] = field(default_factory=list)


def read(path: Path, dataset: Dataset, scored: np.ndarray, seed: int) -> Latents:
    """The latents.npz of a model of this dataset and seed; UserError where it is missing or unsound."""
    arrays = read_npz(path, "mean", "log_variance", "fit_mean", "fit_log_variance", "fit_indices")
    fitted, known = arrays["fit_indices"], {}
    if dataset.validation_labels is not None:
        known = {"fit_labels": dataset.validation_labels[fitted], "labels": dataset.test_labels}
    if dataset.validation_factors is not None:
        known |= {"fit_factors": dataset.validation_factors[fitted], "factors": dataset.test_factors}
    return Latents(**arrays, **known, scored=scored, seed=seed, factor_names=dataset.factor_names)
