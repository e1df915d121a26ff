"""The accuracy of an encoder in 8-bit integers: errors of its codes, and accuracies of probes on them."""

import numpy as np

from vae.measures.codes import probes
from vae.measures.latents import Latents


def measure(exact: Latents, fit_mean: np.ndarray, mean: np.ndarray, log_variance: np.ndarray, accuracies: dict) -> dict:
    """Root mean squared errors over images and dimensions, and accuracies of probes fitted and scored on the codes.

    `exact` are the codes of the encoder as it was trained, `accuracies` what `vae.measures.codes.probes` says of them.
    The others are those of the quantised encoder: `fit_mean` of the same validation images, `mean` and `log_variance`
    of the scored test images. The error of the means is in the prior's standard deviations, and `mean_spread` is by how
    much they vary in that unit. An error that is not finite is None.
    """
    exact_mean, exact_log_variance = exact.mean[exact.scored], exact.log_variance[exact.scored]
    labels = None if exact.labels is None else exact.labels[exact.scored]
    quantised = probes.classes(fit_mean, exact.fit_labels, mean, labels)
    return {
        "mean_rms_error": _rms(mean - exact_mean),
        "mean_spread": _rms(exact_mean - exact_mean.mean(0)),
        "log_variance_rms_error": _rms(log_variance - exact_log_variance),
        **{name: {"float32": accuracies[name], "int8": quantised[name]} for name in ("probe_accuracy", "knn_accuracy")},
    }


def _rms(values: np.ndarray) -> float | None:
    """Root mean square, None where values are not finite."""
    root = float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
    return root if np.isfinite(root) else None
