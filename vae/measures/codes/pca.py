"""The principal components of codes."""

import numpy as np
from sklearn.decomposition import PCA

from vae.measures.latents import Latents


def measure(latents: Latents) -> dict[str, float | np.ndarray | None]:
    """The components of all test images, the shares of variance, and the share of the first two; see `project`."""
    components, shares = project(latents.mean)
    return {
        "components": components,
        "explained_variance_ratio": shares,
        "explained_variance_2": float(sum(shares[:2].tolist())) if len(shares) else None,
    }


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
