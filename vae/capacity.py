"""Capacity control: the width at which a network has the number of parameters that is asked for."""

from collections.abc import Callable

from vae.errors import UserError

TOLERANCE = 0.05
NARROWEST, WIDEST = 2.0**-10, 2.0**10
STEP = 1.0005  # finer than a unit in a thousand


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
