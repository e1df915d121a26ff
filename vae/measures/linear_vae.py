"""Theory of linear VAEs: which directions of the data they code at a given weight of the KLD, and at which KLD.

A linear decoder with Gaussian noise of variance s² and a KLD weighted by beta has, divided by beta, the ELBO of
probabilistic PCA with noise of variance beta · s² (Lucas et al. 2019; Tipping & Bishop 1999). At its optimum a
principal direction of variance v is coded where v > beta · s², by a latent dimension of KLD ½ log (v / (beta · s²));
where it is not, the latent dimension has collapsed. The same inequality says whether the completely collapsed state of
a VAE with any smooth decoder is stable against small linear maps.

A Bernoulli decoder has no s². Around the mean image m, its loss is to second order that of a Gaussian with the variance
m (1 - m) at each pixel: directions are then those of the pixels divided by its root.
"""

import numpy as np


def spectrum(images: np.ndarray, likelihood: str, sigma: float) -> np.ndarray:
    """Variances of the principal directions of images `uint8 [N, ...]` in units of the noise, largest first.

    `likelihood` is `bernoulli`, or `gaussian` with standard deviation `sigma` of grey levels from 0 to 1.
    """
    pixels = images.reshape(len(images), -1) / np.float32(255)
    mean = pixels.mean(0, dtype=np.float64)
    varies = np.ptp(pixels, axis=0) > 0
    noise = (mean * (1 - mean))[varies] if likelihood == "bernoulli" else sigma**2
    scaled = (pixels[:, varies] - mean[varies].astype(np.float32)) / np.float32(np.sqrt(noise))
    # Either product has all the variances that are not zero; the smaller is the cheaper.
    products = scaled @ scaled.T if len(scaled) < scaled.shape[1] else scaled.T @ scaled
    return np.linalg.eigvalsh(products.astype(np.float64))[::-1].clip(0) / len(images)


def kld_per_dimension(spectrum: np.ndarray, beta: float, latent_size: int) -> np.ndarray:
    """KLD in nats per image of each latent dimension of a linear VAE, largest first, `[latent_size]`.

    `beta` is the effective weight of the KLD; at 0 it is infinite.
    """
    largest = spectrum[:latent_size]
    with np.errstate(divide="ignore", invalid="ignore"):
        coded = np.where(largest > beta, np.log(largest / np.float64(beta)) / 2, 0)
    return np.pad(coded, (0, latent_size - len(coded)))
