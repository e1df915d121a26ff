"""The mutual information of data and code under the encoder."""

from math import isfinite, log

import numpy as np
from scipy.special import logsumexp

from vae.measures.latents import Latents
from vae.seeds import of_model


def measure(latents: Latents) -> dict[str, float | None]:
    """The estimate of the scored images, and its upper bound; no estimate for posteriors that are not finite."""
    mean, log_variance = latents.mean[latents.scored], latents.log_variance[latents.scored]
    with np.errstate(all="ignore"):
        information, most = mutual_information(mean, log_variance, of_model("mutual_information", latents.seed))
    return {
        "mutual_information": information if isfinite(information) else None,
        "mutual_information_ceiling": most,
    }


def mutual_information(mean: np.ndarray, log_variance: np.ndarray, seed: int) -> tuple[float, float]:
    """I(x; z) in nats for N posteriors `[N, latent]`, and the upper bound of this estimator, log N.

    One code is drawn from each posterior; what it says is log q(z|x) - log q(z), with q(z) the mean of the N posteriors
    (Hoffman & Johnson 2016). An estimate near log N says that the images can be told apart, not how well.
    """
    mean, log_variance = mean.astype(np.float64), log_variance.astype(np.float64)
    codes = mean + np.exp(log_variance / 2) * np.random.default_rng(seed).standard_normal(mean.shape)
    precision = np.exp(-log_variance)
    # log q(z_i|x_j) but for a constant; the square of z_i - mean_j is multiplied out, so that products do the work.
    squares = codes**2 @ precision.T - 2 * codes @ (mean * precision).T + (mean**2 * precision).sum(1)
    densities = -(squares + log_variance.sum(1)) / 2
    most = log(len(mean))
    return float(np.mean(np.diagonal(densities) - logsumexp(densities, axis=1)) + most), most
