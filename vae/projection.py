"""The latent space in two dimensions, and in numbers for what the eye looks for there."""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from vae.data import draw

NEIGHBOURS = 5
FOLDS = 5


def project(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """PCA of posterior means `[N, latent]`: the first two components `float32 [N, 2]`, the share of variance of each.

    Where there is only one latent dimension the second component is zero; where the means do not vary at all, or are
    not finite, there are no shares, and every component is zero.
    """
    # Centred before the PCA, whose solver centres too late for the means of a collapsed model, which hardly vary.
    centred = means.astype(np.float64) - means.mean(0, dtype=np.float64)
    if not np.isfinite(centred).all() or not centred.any():
        return np.zeros((len(means), 2), np.float32), np.zeros(0)
    pca = PCA(svd_solver="covariance_eigh").fit(centred)
    components = pca.transform(centred)[:, :2]
    missing = 2 - components.shape[1]
    return np.pad(components, ((0, 0), (0, missing))).astype(np.float32), pca.explained_variance_ratio_


def separability(means: np.ndarray, labels: np.ndarray | None, count: int | None = None) -> dict[str, float | None]:
    """How far the classes lie apart in latent space `[N, latent]`: silhouette, and accuracy of the nearest neighbours.

    Computed on `count` of the codes, always the same, or on all.
    The silhouette (Rousseeuw 1987) is that of the true classes under Euclidean distance, from -1 to 1. The accuracy is
    that of 5 nearest neighbours, cross-validated in 5 stratified folds. A number that cannot be had is None: the
    silhouette of a single class, the accuracy of classes with fewer members than folds, and both
    without labels or for codes that are not finite.
    """
    if labels is None or not np.isfinite(means).all():
        return {"silhouette": None, "knn_accuracy": None}
    chosen = draw(len(labels), count)
    means, labels = means[chosen], labels[chosen]
    classes, sizes = np.unique(labels, return_counts=True)
    silhouette = accuracy = None
    if 1 < len(classes) < len(labels):
        silhouette = float(silhouette_score(means, labels))
    if len(classes) > 1 and sizes.min() >= FOLDS:
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
        accuracy = float(cross_val_score(KNeighborsClassifier(NEIGHBOURS), means, labels, cv=folds).mean())
    return {"silhouette": silhouette, "knn_accuracy": accuracy}
