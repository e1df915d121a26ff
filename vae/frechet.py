"""The Fréchet distance of two sets of images in the feature space of a classifier (Heusel et al. 2017)."""

import numpy as np


def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean `[F]` and covariance `[F, F]` of features `[N, F]`."""
    features = features.astype(np.float64)
    return features.mean(0), np.cov(features, rowvar=False).reshape(features.shape[1], -1)


def distance(mean: np.ndarray, covariance: np.ndarray, other_mean: np.ndarray, other: np.ndarray) -> float:
    """The squared Fréchet distance of two Gaussians, |m - n|² + tr(C + D - 2 (C D)^½) (Dowson & Landau 1982)."""
    # The eigenvalues of a product of two covariances are real and not negative, but for rounding.
    product = np.linalg.eigvals(covariance @ other).real.clip(0)
    spread = np.trace(covariance) + np.trace(other) - 2 * np.sqrt(product).sum()
    return float(np.square(mean - other_mean).sum() + spread)
