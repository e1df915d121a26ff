"""How much of an image's class can be read off its code: measured alike for models and for baselines.

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

NAMES = ("probe_accuracy", "knn_accuracy", "silhouette")
NEIGHBOURS = 5


def measure(latents: Latents) -> dict[str, float | None]:
    """The measures of `classes` of the means of the scored images."""
    labels = None if latents.labels is None else latents.labels[latents.scored]
    return classes(latents.fit_mean, latents.fit_labels, latents.mean[latents.scored], labels)


def classes(
    fit: np.ndarray, fit_labels: np.ndarray | None, test: np.ndarray, test_labels: np.ndarray | None
) -> dict[str, float | None]:
    """Accuracy of a linear probe and of the nearest neighbours, and the silhouette, of codes `[N, latent]`.

    The probe is a logistic regression on standardised codes, the neighbours are 5, and the silhouette (Rousseeuw 1987)
    is that of the true classes of the test codes under Euclidean distance, from -1 to 1. A number that cannot be
    computed is None: all without labels or for codes that are not finite, accuracies with one class to learn, the
    silhouette of a single class.
    """
    measured: dict[str, float | None] = dict.fromkeys(NAMES)
    if fit_labels is None or test_labels is None or not (np.isfinite(fit).all() and np.isfinite(test).all()):
        return measured
    if len(np.unique(fit_labels)) > 1:
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        neighbours = KNeighborsClassifier(min(NEIGHBOURS, len(fit)))
        for name, reader in (("probe_accuracy", probe), ("knn_accuracy", neighbours)):
            measured[name] = float(reader.fit(fit, fit_labels).score(test, test_labels))
    if 1 < len(np.unique(test_labels)) < len(test):
        measured["silhouette"] = float(silhouette_score(test, test_labels))
    return measured
