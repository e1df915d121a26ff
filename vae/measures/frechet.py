"""The FID-style distance of two sets of images, in the feature space of a classifier (Heusel et al. 2017)."""

from typing import NamedTuple

import numpy as np


class Moments(NamedTuple):
    """Mean `[F]` and covariance `[F, F]` of features."""

    mean: np.ndarray
    covariance: np.ndarray


def moments(features: np.ndarray) -> Moments:
    """The moments of features `[N, F]`; those of a single image have no covariance."""
    features = features.astype(np.float64)
    count, size = features.shape
    covariance = np.cov(features, rowvar=False).reshape(size, size) if count > 1 else np.zeros((size, size))
    return Moments(features.mean(0), covariance)


def distance(first: Moments, second: Moments) -> float:
    """The squared Fréchet distance of two Gaussians, |m - n|² + tr(C + D - 2 (C D)^½) (Dowson & Landau 1982)."""
    # The eigenvalues of a product of two covariances are real and not negative, but for rounding.
    product = np.linalg.eigvals(first.covariance @ second.covariance).real.clip(0)
    spread = np.trace(first.covariance) + np.trace(second.covariance) - 2 * np.sqrt(product).sum()
    return float(np.square(first.mean - second.mean).sum() + spread)
