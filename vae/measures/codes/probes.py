"""The accuracy of predicting an image's class from its code, measured alike for models and baselines.

Whatever is fitted is fitted on codes of validation images, which no model was trained on, and scored on codes of test
images.
"""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vae.measures.latents import Latents
from vae.seeds import of_model

ACCURACIES = ("probe_accuracy", "knn_accuracy")
SAMPLED = "_sampled"
NEIGHBOURS = 5


def measure(latents: Latents) -> dict[str, float | None]:
    """The measures of `classes` of the means of the scored images; and the accuracies of codes drawn from posteriors.

    The mean has no noise: of a code that says little, a probe reads more from the mean than any decoder can from the
    code. The names of measures of drawn codes end on `_sampled`.
    """
    labels, scored = None if latents.labels is None else latents.labels[latents.scored], latents.scored
    fit, test = draw(latents)
    of_means = classes(latents.fit_mean, latents.fit_labels, latents.mean[scored], labels)
    of_codes = accuracies(fit, latents.fit_labels, test, labels)
    return of_means | {f"{name}{SAMPLED}": value for name, value in of_codes.items()}


def draw(latents: Latents) -> tuple[np.ndarray, np.ndarray]:
    """A code of every image that probes are fitted on, and of every one that they score."""
    rng = np.random.default_rng(of_model("probe_codes", latents.seed))
    scored = latents.scored
    fit, test = (
        mean + np.exp(log_variance.astype(np.float64) / 2) * rng.standard_normal(mean.shape)
        for mean, log_variance in (
            (latents.fit_mean, latents.fit_log_variance),
            (latents.mean[scored], latents.log_variance[scored]),
        )
    )
    return fit, test


def classes(
    fit: np.ndarray, fit_labels: np.ndarray | None, test: np.ndarray, test_labels: np.ndarray | None
) -> dict[str, float | None]:
    """The accuracies of `accuracies`, and the silhouette, of codes `[N, latent]`.

    The silhouette (Rousseeuw 1987) is that of the true classes of the test codes under Euclidean distance, from -1 to
    1. It is None without labels, for codes that are not finite, and for a single class.
    """
    measured = accuracies(fit, fit_labels, test, test_labels) | {"silhouette": None}
    if test_labels is not None and np.isfinite(test).all() and 1 < len(np.unique(test_labels)) < len(test):
        measured["silhouette"] = float(silhouette_score(test, test_labels))
    return measured


def accuracies(
    fit: np.ndarray, fit_labels: np.ndarray | None, test: np.ndarray, test_labels: np.ndarray | None
) -> dict[str, float | None]:
    """Accuracy of a linear probe and of the nearest neighbours, of codes `[N, latent]`.

    The probe is a logistic regression on standardised codes, the neighbours are 5. A number that cannot be computed is
    None: without labels, for codes that are not finite, and with one class to learn.
    """
    measured: dict[str, float | None] = dict.fromkeys(ACCURACIES)
    if fit_labels is None or test_labels is None or not (np.isfinite(fit).all() and np.isfinite(test).all()):
        return measured
    if len(np.unique(fit_labels)) > 1:
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        neighbours = KNeighborsClassifier(min(NEIGHBOURS, len(fit)))
        for name, reader in zip(ACCURACIES, (probe, neighbours), strict=True):
            measured[name] = float(reader.fit(fit, fit_labels).score(test, test_labels))
    return measured
