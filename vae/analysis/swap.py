"""The losses of encoders with decoders that were trained with another encoder, from the stage `swap`."""

from pathlib import Path

import pandas as pd

from vae import provenance

TERMS = ["reconstruction", "kld", "elbo"]
LOSSES = [*TERMS, *(f"train_{name}" for name in TERMS)]
MODEL = ["latent_size", "trained_with", "decoder", "seed"]
COLUMNS = [*MODEL, "encoder", "status", "effective_beta", *LOSSES, "loss", "joint_loss"]


def gather(results: Path, config: dict, rows: pd.DataFrame) -> pd.DataFrame:
    """One row per trained decoder and encoder that was fitted to it; none where the study does not swap.

    `rows` is the table of models. `trained_with` is the encoder that trained the decoder. `loss` is reconstruction +
    effective beta · KLD on test images, in nats per image; `joint_loss` is that of the model that the decoder is of,
    in which both were trained together.
    """
    if not config["evaluation"]["swap"]:
        return pd.DataFrame(columns=COLUMNS)
    pairs = rows[["encoder", "decoder"]].drop_duplicates().itertuples(index=False)
    files = [provenance.read(results / f"swap/{pair.encoder}_{pair.decoder}.json") for pair in pairs]
    table = pd.DataFrame([row for file in files for row in file["fitted"]]).astype(dict.fromkeys(LOSSES, float))
    models = rows.rename(columns={"encoder": "trained_with"}).set_index(MODEL)[["effective_beta", *TERMS]].astype(float)
    models["joint_loss"] = minimised(models)
    table = table.join(models[["effective_beta", "joint_loss"]], on=MODEL)
    return table.assign(loss=minimised(table))[COLUMNS]


def minimised(rows: pd.DataFrame) -> pd.Series:
    """Reconstruction + effective beta · KLD, in nats per image."""
    return rows["reconstruction"] + rows["effective_beta"] * rows["kld"]
