"""The steps of torch's optimisers by their fused kernels alone: the same numbers to the last bit.

`torch.optim` looks through its parameters and settings in every step, which takes as long as a small product, and loads
torch's compiler for its first one, which takes a second. Measured in benchmarks/README.md.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import torch
from torch import Tensor

State = dict[str, Tensor]


def _adam(
    kernel: Callable,
    weight_decay: float,
    weights: list[Tensor],
    gradients: list[Tensor],
    states: list[State],
    rate: float,
) -> None:
    means, squares, steps = ([state[key] for state in states] for key in ("exp_avg", "exp_avg_sq", "step"))
    torch._foreach_add_(steps, 1)
    kernel(
        weights, gradients, means, squares, [], steps, lr=rate, beta1=0.9, beta2=0.999, weight_decay=weight_decay,
        eps=1e-8, amsgrad=False, maximize=False,
    )  # fmt: skip


def _sgd(weights: list[Tensor], gradients: list[Tensor], states: list[State], rate: float) -> None:
    torch._fused_sgd_(
        weights, gradients, [], lr=rate, weight_decay=0.0, momentum=0.0, dampening=0.0, nesterov=False, maximize=False,
        is_first_step=False,
    )  # fmt: skip


# With the default settings of torch.optim.
KERNELS: dict[str, Callable] = {
    "adam": partial(_adam, torch._fused_adam_, 0.0),
    "adamw": partial(_adam, torch._fused_adamw_, 0.01),
    "sgd": _sgd,
}


class Optimizer:
    """An optimiser of `KERNELS`, of parameters grouped by the share of the learning rate that they are trained at.

    `state` is what it remembers of each parameter, by the names of `torch.optim`.
    """

    def __init__(self, name: str, parameters: Mapping[float, Iterable[Tensor]]):
        self.kernel = KERNELS[name]
        self.groups = {share: list(group) for share, group in parameters.items()}
        self.state: dict[Tensor, State] = {
            weight: {} if name == "sgd" else _moments(weight) for group in self.groups.values() for weight in group
        }

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """A step along the gradients, at this learning rate times the share of each group."""
        for share, group in self.groups.items():
            gradients, states = [weight.grad for weight in group], [self.state[weight] for weight in group]
            self.kernel(group, gradients, states, share * rate)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for weight in self.state:
            weight.grad = None


def _moments(weight: Tensor) -> State:
    moments = {key: torch.zeros_like(weight, requires_grad=False) for key in ("exp_avg", "exp_avg_sq")}
    return moments | {"step": torch.zeros((), device=weight.device, dtype=torch.float32)}
