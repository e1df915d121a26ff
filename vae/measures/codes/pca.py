"""The principal components of codes."""

from typing import NamedTuple

import numpy as np
from sklearn.decomposition import PCA

from vae.measures.latents import Latents


def measure(latents: Latents) -> dict[str, float | np.ndarray | None]:
    """The plane of all test images, the shares of variance, and the share of the first two components."""
    plane, shares = project(latents.mean)
    return {
        **plane._asdict(),
        "explained_variance_ratio": shares,
        "explained_variance_2": float(sum(shares[:2].tolist())) if len(shares) else None,
    }


class Plane(NamedTuple):
    """The first two components of codes, `[N, 2]`: codes less the `centre`, `[latent]`, along `axes`, `[2, latent]`."""

    components: np.ndarray
    centre: np.ndarray
    axes: np.ndarray


def project(means: np.ndarray) -> tuple[Plane, np.ndarray]:
    """PCA of posterior means `[N, latent]`: the plane of two components, and the share of variance of every component.

    Where there is only one latent dimension the second component is zero; where the means do not vary at all, or are
    not finite, there are no shares, and every component is zero.
    """
    latent_size = means.shape[1]
    # Centred before the PCA, whose solver centres too late for the means of a collapsed model, which hardly vary.
    centred = means.astype(np.float64) - means.mean(0, dtype=np.float64)
    if not np.isfinite(centred).all() or not centred.any():
        nowhere = np.zeros((len(means), 2)), np.zeros(latent_size), np.zeros((2, latent_size))
        return Plane(*(part.astype(np.float32) for part in nowhere)), np.zeros(0)
    pca = PCA(svd_solver="covariance_eigh").fit(centred)
    missing = max(2 - latent_size, 0)
    components = np.pad(pca.transform(centred)[:, :2], ((0, 0), (0, missing)))
    plane = components, means.mean(0, dtype=np.float64), np.pad(pca.components_[:2], ((0, missing), (0, 0)))
    return Plane(*(part.astype(np.float32) for part in plane)), pca.explained_variance_ratio_
