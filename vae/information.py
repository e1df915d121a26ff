"""How much a code says about its image: the mutual information of data and code under the encoder."""

from math import isfinite, log

import numpy as np
from scipy.special import logsumexp


def mutual_information(mean: np.ndarray, log_variance: np.ndarray, seed: int) -> tuple[float, float]:
    """I(x; z) in nats for N posteriors `[N, latent]`, and the most that this estimate can answer, log N.

    One code is drawn from each posterior; what it says is log q(z|x) - log q(z), with q(z) the mean of the N posteriors
    (Hoffman & Johnson 2016). An estimate near log N says that the images can be told apart, not how well.
    """
    mean, log_variance = mean.astype(np.float64), log_variance.astype(np.float64)
    codes = mean + np.exp(log_variance / 2) * np.random.default_rng(seed).standard_normal(mean.shape)
    precision = np.exp(-log_variance)
    # log q(z_i|x_j) but for a constant; the square of z_i - mean_j is multiplied out, so that products do the work.
    squares = codes**2 @ precision.T - 2 * codes @ (mean * precision).T + (mean**2 * precision).sum(1)
    densities = -(squares + log_variance.sum(1)) / 2
    ceiling = log(len(mean))
    return float(np.mean(np.diagonal(densities) - logsumexp(densities, axis=1)) + ceiling), ceiling


def measure(mean: np.ndarray, log_variance: np.ndarray, seed: int) -> dict[str, float | None]:
    """The estimate and its ceiling; no estimate for posteriors that are not finite."""
    with np.errstate(all="ignore"):
        found, ceiling = mutual_information(mean, log_variance, seed)
    return {"mutual_information": found if isfinite(found) else None, "mutual_information_ceiling": ceiling}
