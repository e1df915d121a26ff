"""The choice of a hyperparameter for a pair, by the losses of its trials on validation images."""

from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any

from vae import provenance
from vae.grid import varied


@dataclass(frozen=True)
class Choice:
    """The value of least mean loss, whether it stands at an end of the list, and what its neighbours there cost.

    A cost is by how much the mean loss of the value before or after it is larger, in nats per image; None where there
    is no such value, or its training diverged.
    """

    chosen: Any
    at_edge: bool
    cost_before: float | None
    cost_after: float | None


def choose(values: list, losses: list[list[float | None]]) -> dict:
    """The `Choice`, as a dict, from the losses of every value, in nats per image, one for each latent size.

    A value of which a model diverged is worse than any other; of equal ones the first is taken.
    """
    means = [sum(inf if loss is None else loss for loss in of_value) / len(of_value) for of_value in losses]
    best = means.index(min(means))

    def cost(index: int) -> float | None:
        return means[index] - means[best] if 0 <= index < len(means) and means[index] < inf else None

    return asdict(Choice(values[best], best in (0, len(values) - 1), cost(best - 1), cost(best + 1)))


def applied(config: dict, file: Path | None) -> dict:
    """The config with what was chosen for a pair, in the file that the stage `tune` wrote; as it is without a file."""
    if file is None:
        return config
    tuning = provenance.read(file)
    return varied(config, {tuning["key"]: tuning["chosen"]})
