"""The training of many models at once: the step of `vae.training.loop`, taken by a stack of models together.

A GPU takes as long to be told of a small product as to compute it. So the weights of all models of a job, which differ
in seed and latent size, stand stacked in one tensor per layer, and a step computes each layer of all of them in one
batched product (`torch.vmap`). A full step is recorded once as a CUDA graph and then replayed, in one launch.

Models of smaller latent size are padded with zeros to the largest. That is exact: a latent dimension whose weights are
zero on both sides and whose noise is zero has the posterior of the prior, a KLD of zero, and no gradient in any term,
so that its weights stay zero under every optimiser.
"""

import logging
from functools import partial
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from vae.grid import Spec
from vae.models.vae import VAE, as_inputs, build
from vae.training.loop import Run, autocast, terms
from vae.training.optimizer import Optimizer
from vae.training.products import by_products
from vae.training.recipe import Recipe
from vae.training.state import Saved, moments, restore

log = logging.getLogger(__name__)

Member = tuple[Spec, int]


class Stack:
    """Models of one encoder and decoder, layer upon layer; `step` is one step of training for each.

    Their `recipes`, by variant, differ in the weight of the KLD and the learning rate alone.
    """

    def __init__(self, runs: list[Run], images: Tensor, recipes: dict[str, Recipe]):
        each = [recipes[run.spec.variant] for run in runs]
        recipe = each[0]
        shape, device = tuple(images.shape[1:]), images.device
        # One set of images for all models, or one for each.
        self.images = torch.stack([images] * len(runs)) if recipe.binarise else images[None]
        self.recipe, self.rows = recipe, torch.arange(len(runs), device=device)[:, None] % len(self.images)
        self.specs = [run.spec for run in runs]
        self.widest = max(self.specs, key=lambda spec: spec.latent_size)
        with torch.device("meta"):
            self.model = VAE(self.widest, shape, recipe.networks)
        if list(self.model.buffers()):
            raise RuntimeError("a layer has buffers, which are not weights")
        by_products(self.model)
        built = [build(run.spec, shape, recipe.networks, run.weights_seed) for run in runs]
        states, layer_rates = zip(*((model.state_dict(), recipe.training.layer_rates(model)) for model in built))
        self.weights = {
            name: torch.stack([_fit(name, state[name], value.shape) for state in states]).to(device).requires_grad_()
            for name, value in self.model.state_dict().items()
        }
        self.layer_rates = {
            name: torch.tensor([rates[name] for rates in layer_rates], device=device) for name in self.weights
        }
        # Tensors, so that a recorded step can be replayed with other values.
        pixels = prod(shape)
        betas = [recipe.objective.effective_beta(pixels, run.spec.latent_size) for run, recipe in zip(runs, each)]
        self.betas = torch.tensor(betas, device=device)
        self.peaks = torch.tensor([recipe.training.learning_rate for recipe in each], device=device)
        self.rates, self.warmed = torch.zeros_like(self.peaks), torch.ones((), device=device)
        self.largest = recipe.largest_gradient(pixels)
        # A step at the rate 1, of which each model goes as far as its own rate says: the steps of all optimisers are
        # proportional to the rate.
        self.optimizer = Optimizer(recipe.training.optimizer, {1.0: self.weights.values()})
        self.totals = torch.zeros(len(runs), 3, device=device)

    def outputs(self, inputs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The outputs of `VAE` for images `[M, B, C, H, W]` and noise `[M, ..., B, latent_size]`, for M models."""
        return torch.vmap(partial(functional_call, self.model))(self.weights, (inputs, noise))

    def set_done(self, done: float) -> None:
        """Set what changes from step to step, when a share `done` of all steps is done."""
        torch.mul(self.peaks, self.recipe.training.scheduled(done), out=self.rates)
        self.warmed.fill_(self.recipe.objective.warmed(done))

    def step(self, chosen: Tensor, noise: Tensor) -> None:
        """A step on the images of these indices, `[M, B]`, with noise `[M, B, latent_size]`."""
        inputs = as_inputs(self.images[self.rows, chosen].flatten(0, 1)).unflatten(0, chosen.shape)
        with autocast(self.recipe.training.precision, inputs.device):
            outputs = self.outputs(inputs, self.recipe.training.codes(noise))
        losses = torch.vmap(partial(terms, self.recipe.objective))(outputs, inputs, self.betas * self.warmed)
        self.optimizer.zero_grad()
        # The sum's gradient in the weights of one model is that of its own loss.
        losses[:, 0].sum().backward()
        if self.largest:
            self._clip(self.largest)
        before = self.snapshot()
        self.optimizer.step(1.0)
        with torch.no_grad():
            for name, weights in self.weights.items():
                rates = self.rates * self.layer_rates[name]
                weights.copy_(before[name].lerp(weights, _per_model(rates, weights)))
        self.totals += losses.detach() * chosen.shape[1]

    @torch.no_grad()
    def _clip(self, largest: float) -> None:
        """Scale the gradient of each model as `torch.nn.utils.clip_grad_norm_` does."""
        gradients = [weights.grad for weights in self.weights.values() if weights.grad is not None]
        norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
        scales = (largest / (norms + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(_per_model(scales, gradient))

    def finite(self) -> list[bool]:
        """Which models have finite weights."""
        return torch.stack([w.isfinite().flatten(1).all(1) for w in self.weights.values()]).all(0).tolist()

    def snapshot(self) -> dict[str, Tensor]:
        """A copy of all weights."""
        return {name: value.detach().clone() for name, value in self.weights.items()}

    def member(self, index: int, weights: dict[str, Tensor]) -> VAE:
        """One model, taken out of a snapshot and of its padding."""
        with torch.device("meta"):
            model = VAE(self.specs[index], tuple(self.images.shape[2:]), self.recipe.networks)
        cropped = {name: _fit(name, weights[name][index], value.shape) for name, value in model.state_dict().items()}
        model.load_state_dict(cropped, assign=True)
        return model.requires_grad_()

    def moments(self, index: int, model: VAE) -> dict[str, Tensor]:
        """The optimiser's state of one model, out of its padding; all models share the count of steps."""
        shapes = {name: value.shape for name, value in model.state_dict().items()}
        state = {}
        for path, value in moments(self.optimizer.state, self.weights).items():
            _, name = path.split("/", 1)
            state[path] = _fit(name, value[index], shapes[name]) if value.ndim else value
        return state

    @torch.no_grad()
    def resume(self, saved: list[Saved]) -> None:
        """Resume from the weights and the optimiser's state of each model."""
        shapes = {name: value.shape[1:] for name, value in self.weights.items()}
        for name, value in self.weights.items():
            value.copy_(torch.stack([_fit(name, state.weights[name], shapes[name]) for state in saved]))
        for path, value in saved[0].moments.items():
            _, name = path.split("/", 1)
            fitted = [_fit(name, state.moments[path], shapes[name]) for state in saved] if value.ndim else None
            restore(self.optimizer.state, self.weights, {path: torch.stack(fitted) if fitted else value})


def _per_model(values: Tensor, stacked: Tensor) -> Tensor:
    """A value for each model, `[M]`, to be multiplied with what is stacked, `[M, ...]`."""
    return values.view(-1, *[1] * (stacked.ndim - 1))


def _fit(name: str, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A layer's weights padded with zeros, or cropped, to the shape that another latent size gives them."""
    # The rows of the heads are all means, then all log-variances.
    halves = 2 if name.startswith("encoder.heads.") else 1
    value, shape = value.unflatten(0, (halves, -1)), (halves, shape[0] // halves, *shape[1:])
    amounts = [(0, wanted - size) for wanted, size in zip(shape, value.shape, strict=True)]
    return F.pad(value, [amount for pair in reversed(amounts) for amount in pair]).flatten(0, 1)
