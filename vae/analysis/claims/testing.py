"""How a claim is tested: differences within blocks, their intervals, a verdict, and the reason where there is none."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from statsmodels.stats.proportion import proportion_confint

from vae.analysis.blocks import LEVEL, Estimate, estimate, verdict
from vae.analysis.claims.statistics import View

Parts = dict[str, np.ndarray]
# Verdicts that count, in the order of the page; `identity` is of a claim that no measurement can contradict.
VERDICTS = ("supported", "contradicted", "equivalent", "undecided")
IDENTITY = "identity"


@dataclass(frozen=True)
class Tested:
    """The outcome of a claim: a value with its interval, NaN if there is none, and a verdict.

    `least` names the part that decides, where a claim has several; `rests_on` says in words what the interval is over;
    `reason` says why nothing is decided; `error` is the value's standard error, with its degrees of freedom.
    """

    value: float
    low: float
    high: float
    verdict: str
    rests_on: str
    least: str = ""
    reason: str = ""
    error: float = np.nan
    freedom: float = np.nan


def differences(
    parts: Callable[[View], Parts], lacking: str, negligible: bool = False, most: float = np.inf
) -> Callable[[View], Tested]:
    """The test of a claim that holds where every part, `[blocks, seeds]` by name, is above zero.

    The least part stands for all, and the least lower end: it is above zero only if all are. The least upper end is at
    a level corrected for their number (Bonferroni), as the least of many is below zero by chance. Where differences
    below the ranking's margin are `negligible`, a least part that is within it makes the claim equivalent. `lacking` is
    the reason where a grid has no block of these models; `most` is what a value cannot exceed.
    """

    def test(view: View) -> Tested:
        named, margin = parts(view), view.ranking.margin if negligible else None
        levels = LEVEL, 1 - (1 - LEVEL) / max(len(named), 1)
        usual, strict = ({name: estimate(values, level) for name, values in named.items()} for level in levels)
        if not named or not all(part.blocks for part in usual.values()):
            return Tested(np.nan, np.nan, np.nan, "undecided", "", reason=lacking)
        least = min(usual, key=lambda name: usual[name].value)
        low = float(np.min([part.interval[0] for part in usual.values()]))
        high = float(np.min([part.interval[1] for part in strict.values()]))
        low, high = max(low, -most), min(high, most)
        said = verdict(low, high, margin)
        reason = _reason(usual[least], low, high, margin) if said == "undecided" else ""
        return Tested(
            value=usual[least].value,
            low=low,
            high=high,
            verdict=said,
            rests_on=_rests_on(usual[least]),
            least=least,
            reason=reason,
            error=usual[least].error,
            freedom=usual[least].freedom,
        )

    return test


def _rests_on(part: Estimate) -> str:
    blocks = f"{part.blocks} context{'s' if part.blocks != 1 else ''}"
    return f"{part.seeds} seeds in {blocks}" if part.seeds > 1 else f"{blocks} of this grid, with one seed"


def _reason(part: Estimate, low: float, high: float, margin: float | None) -> str:
    if part.blocks * part.seeds == 1:
        return "one context with one seed gives no interval"
    if not np.isfinite(low):
        return "the values have no spread, and are too few for an interval"
    spans = f"the interval spans {low:+.2g} to {high:+.2g}".replace("-", "−")
    if part.seeds == 1:
        return f"{spans} over the contexts of this grid, and one seed cannot separate contexts from chance"
    more = part.seeds_to_decide(margin)
    if more is None:
        return spans
    return f"{spans}; at this spread between seeds, about {more - part.seeds} more would decide"


def share(values: Callable[[View], np.ndarray], lacking: str) -> Callable[[View], Tested]:
    """The test of whether about half of some values, each true or false, are true, by Wilson's interval of their share.

    It is contradicted where the interval leaves one half out, and supported where it has it and lies nearer to it than
    to none or all.
    """

    def test(view: View) -> Tested:
        known = values(view)
        known = known[np.isfinite(known)]
        if not len(known):
            return Tested(np.nan, np.nan, np.nan, "undecided", "", reason=lacking)
        # Where no value is true, the interval begins at zero: rounding removes what a processor leaves of it.
        low, high = np.round(proportion_confint(known.sum(), len(known), 1 - LEVEL, "wilson"), 12)
        contradicted, near = not low <= 0.5 <= high, low > 0.25 and high < 0.75
        said = "contradicted" if contradicted else "supported" if near else "undecided"
        reason = "" if said != "undecided" else f"{len(known)} models are too few for a share"
        value = float(known.mean())
        error = float(np.sqrt(value * (1 - value) / len(known)))
        rests_on = f"{len(known)} model{'s' if len(known) != 1 else ''}"
        return Tested(
            value, float(low), float(high), said, rests_on, reason=reason, error=error, freedom=len(known) - 1
        )

    return test


def identity(value: Callable[[View], float]) -> Callable[[View], Tested]:
    """No test: the claim follows from what its words mean."""
    return lambda view: Tested(value(view), np.nan, np.nan, IDENTITY, "")
