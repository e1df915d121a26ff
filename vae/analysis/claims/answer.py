"""Claims of this project's own, on the parts of the loss: the gaps of inference, and the misfit of decoders.

They are tested where a study has measured the gaps of inference; two need the encoder swap and a sweep of the weight of
the KLD too. Simple networks are those of one layer or block, complex ones the deeper ones of the same family.
"""

import numpy as np
import pandas as pd

from vae.analysis.claims.paper import Claim
from vae.analysis.claims.statistics import View
from vae.analysis.claims.testing import Parts, Tested, differences
from vae.catalogue import FIGURES
from vae.registry import Registry

FIGURE = "loss_decomposition"
LACKING = "no family has a simple and a complex encoder with measured gaps"


def simple_encoders_infer_as_well(view: View) -> Parts:
    return {family: view.ranking.margin - excess for family, excess in _excess(view, "train_amortisation_gap").items()}


def complex_encoders_generalise_less(view: View) -> Parts:
    return {family: -excess for family, excess in _excess(view, "generalisation_gap").items()}


def _excess(view: View, gap: str) -> Parts:
    """By how much a gap of simple encoders is larger than that of complex ones, by family."""
    parts, gaps = {}, view.grid.by(gap, "encoder")
    for family in view.families("encoder"):
        simple, complex_ = (
            view.networks("encoder", family, depths) for depths in (lambda depth: depth == 1, lambda depth: depth > 1)
        )
        if simple and complex_:
            means = [np.mean([gaps[name] for name in names], 0) for names in (simple, complex_)]
            parts[family] = means[0] - means[1]
    return {name: values for name, values in parts.items() if np.isfinite(values).any()}


def inferring_encoder_matters_more(view: View) -> Parts:
    """The spread over encoders that infer less that over those that trained the decoder, by latent size and decoder."""
    if view.swap.empty:
        return {}
    models = view.swap.groupby(["latent_size", "decoder"])
    return {"": np.array([[_spread(block) for _, block in rows.groupby("seed")] for _, rows in models])}


def _spread(block: pd.DataFrame) -> float:
    losses = block.pivot(index="encoder", columns="trained_with", values="loss").to_numpy()
    return float(losses.mean(1).std(ddof=1) - losses.mean(0).std(ddof=1))


def convolutional_decoders_distort_less(view: View) -> Parts:
    """How far curves of rate and distortion with dense decoders lie above those with convolutional ones."""
    sizes, encoders = (view.grid.levels[name] for name in ("latent_size", "encoder"))
    above = np.array(
        [[[_above(curves, size, encoder, view) for curves in view.curves] for encoder in encoders] for size in sizes]
    )
    return {"": above.reshape(-1, len(view.curves))} if np.isfinite(above).any() else {}


def _above(curves: dict, size: int, encoder: str, view: View) -> float:
    dense, convolutional = (
        [curves[size, encoder, name] for name in view.networks("decoder", family) if (size, encoder, name) in curves]
        for family in ("DNN", "CNN")
    )
    distances = [first.above(second) for first in dense for second in convolutional]
    return float(np.mean(distances)) if distances else np.nan


def _size(value: float) -> str:
    return f"{abs(value):.2f} nats {'less' if value >= 0 else 'more'}"


def _rows_and_columns(view: View, tested: Tested) -> str:
    return (
        f"With frozen decoders, the standard deviation of the loss is {_size(-tested.value)} over the encoders that"
        " infer than over those that trained the decoder."
    )


ANSWERS: Registry[Claim] = Registry("claim")
for claim in (
    Claim(
        "amortisation",
        "Simple encoders have no larger amortisation gap than complex ones.",
        "margin of equivalence, less the difference of the amortisation gaps of simple and complex encoders on training"
        " images",
        "nats",
        FIGURE,
        differences(simple_encoders_infer_as_well, LACKING),
        lambda view, tested: (
            f"On training images the amortisation gap of simple {tested.least} encoders is"
            f" {_size(tested.value - view.ranking.margin)} than that of complex ones; the margin is"
            f" {view.ranking.margin:.2f} nats."
        ),
    ),
    Claim(
        "generalisation",
        "Complex encoders generalise worse to test images.",
        "growth of the amortisation gap from training to test images with complex encoders, less that with simple ones",
        "nats",
        FIGURE,
        differences(complex_encoders_generalise_less, LACKING, negligible=True),
        lambda view, tested: (
            f"From training to test images, the amortisation gap of complex {tested.least} encoders grows by"
            f" {_size(-tested.value)} than that of simple ones."
        ),
    ),
    Claim(
        "who_infers",
        "The encoder that infers matters more than the encoder that trained the decoder.",
        "standard deviation of the loss over encoders that are refitted to a frozen decoder, less that over the"
        " encoders that it was trained with",
        "nats",
        FIGURE,
        differences(inferring_encoder_matters_more, "no encoder was fitted to the decoder of another", negligible=True),
        _rows_and_columns,
    ),
    Claim(
        "rate_and_decoder",
        "At equal rate, convolutional decoders have less distortion.",
        "mean distance of the rate-distortion curve with a dense decoder above that with a convolutional one, all else"
        " equal",
        "nats",
        FIGURE,
        differences(
            convolutional_decoders_distort_less,
            "the weight of the KLD is not swept, or there are no decoders of both families",
            negligible=True,
        ),
        lambda view, tested: (
            f"At equal rate, convolutional decoders have {_size(tested.value)} distortion than dense ones."
        ),
    ),
):
    FIGURES[claim.figure]  # an unknown figure is refused here
    ANSWERS.add(claim.name, claim)
