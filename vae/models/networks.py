"""The widths of networks, and the width at which a network has a given number of parameters."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import nn

from vae.errors import UserError

TOLERANCE = 0.05
NARROWEST, WIDEST = 2.0**-10, 2.0**10
STEP = 1.0005  # finer than a unit in a thousand

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Networks:
    """How networks are built.

    How wide they are, how many parameters an encoder (with its heads) and a decoder are to have, if any, and by which
    scheme of `vae.models.initialisation` their weights are drawn. `base_channels` is a fraction where widths are
    scaled; every block rounds its own channels. `projection` is how many units the dense layer before the heads of an
    encoder has, None for no such layer; it is not scaled.
    """

    hidden_units: int
    base_channels: float
    encoder_parameters: int | None = None
    decoder_parameters: int | None = None
    initialisation: str = "torch"
    projection: int | None = None

    def scaled(self, scale: float) -> "Networks":
        """These widths times `scale`."""
        return replace(
            self, hidden_units=max(1, round(self.hidden_units * scale)), base_channels=self.base_channels * scale
        )


def fit(count: Callable[[float], int], wanted: int) -> float:
    """The scale of the widths at which `count(scale)`, which grows with the scale in steps, comes nearest to `wanted`.

    Raises UserError where no scale comes within 5%.
    """
    low, high = NARROWEST, WIDEST
    while high / low > STEP:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if count(middle) < wanted else (low, middle)
    nearest = min(low, high, key=lambda scale: abs(count(scale) - wanted))
    if abs(count(nearest) - wanted) > TOLERANCE * wanted:
        raise UserError(
            f"no width gives about {wanted:,} parameters; the nearest are {count(low):,} and {count(high):,}"
        )
    return nearest


def sized(make: Callable[[Networks], M], widths: Networks, wanted: int | None, what: str) -> M:
    if wanted is None:
        return make(widths)

    def count(scale: float) -> int:
        with torch.device("meta"):  # nothing is computed, and no random number is drawn
            return sum(parameter.numel() for parameter in make(widths.scaled(scale)).parameters())

    try:
        return make(widths.scaled(fit(count, wanted)))
    except UserError as error:
        raise UserError(f"{what}: {error}") from None
