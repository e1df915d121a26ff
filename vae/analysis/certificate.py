"""A lower bound on how far models are from their optimum: each is compared with others of its architecture.

If another model of the same networks has a smaller loss under the objective of this one, then training has left at
least the difference. The other may have another seed, another weight of the KLD, or a smaller latent size, which a
larger one can imitate with dimensions that it does not use.
"""

import numpy as np
import pandas as pd

FLAGGED = 0.5  # nats per image
COUNTED = ("encoder_parameters", "decoder_parameters")
# What of a config may differ between models that are compared, beside all of `training`.
FREE = ("objective.beta", "objective.reduction", "objective.kl_warmup", "networks.initialisation")


def slack(rows: pd.DataFrame, config: dict) -> np.ndarray:
    """Nats per image, `[N]`, that each model is from its optimum at the least; NaN for one that diverged.

    For models a and b of one encoder and decoder, with D + effective beta · R on the same training images:
    max over b of (D_a + beta_a R_a) - (D_b + beta_a R_b), and 0. Of what the study's config sweeps, both have the same
    values, but for those that only training depends on.
    """
    axes = [key for key in config["grid"]["sweep"] if key not in FREE and not key.startswith("training.")]
    # Where parameters are counted, a smaller latent size has wider layers, which a larger one cannot imitate.
    varying = {*config["grid"]["sweep"], *config["grid"]["tune"]}
    counted = any(config["networks"][key] or f"networks.{key}" in varying for key in COUNTED)
    distortion, rate = rows["train_reconstruction"].to_numpy(float), rows["train_kld"].to_numpy(float)
    beta, size = rows["effective_beta"].to_numpy(float), rows["latent_size"].to_numpy()
    values = np.full(len(rows), np.nan)
    for _, group in rows.groupby(["encoder", "decoder", *axes], dropna=False, sort=False).indices.items():
        gains = (distortion + beta * rate)[group, None] - (distortion[group] + beta[group, None] * rate[group])
        smaller = size[group] == size[group, None] if counted else size[group] <= size[group, None]
        comparable = smaller & np.isfinite(gains)
        values[group] = np.where(comparable, gains, 0).max(1)
    return np.where(np.isfinite(distortion) & np.isfinite(rate), values, np.nan)
