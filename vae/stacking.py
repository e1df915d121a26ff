"""The training of many models at once: the step of `vae.training`, taken by a stack of models together.

A GPU takes as long to be told of a small product as to compute it. So the weights of all models of a job, which differ
in seed and latent size, stand stacked in one tensor per layer, and a step computes each layer of all of them in one
batched product (`torch.vmap`). A full step is recorded once as a CUDA graph and then replayed, in one launch.

Models of smaller latent size are padded with zeros to the largest. That is exact: a latent dimension whose weights are
zero on both sides and whose noise is zero has the posterior of the prior, a KLD of zero, and no gradient in any term,
so that its weights stay zero under every optimiser.
"""

import logging
from collections.abc import Iterator
from functools import partial
from itertools import groupby
from math import prod
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from vae.device import free_memory
from vae.errors import UserError
from vae.grid import Spec
from vae.networks import VAE, as_inputs, build, to_planes
from vae.resume import Progress, Saved, moments, restore
from vae.training import OPTIMIZERS, Recipe, Run, Trained, autocast, terms, train

log = logging.getLogger(__name__)

Member = tuple[Spec, int]


def train_all(
    members: list[Member],
    images: Tensor,
    recipe: Recipe,
    device: torch.device,
    max_memory: int | None = None,
    progress: dict[Member, Progress] | None = None,
) -> Iterator[Trained]:
    """Train models, given as (spec, seed), and yield them in their order.

    Each goes on where its `progress`, if any, has been kept.

    A CPU trains one after the other, which is faster there; a GPU those that follow each other with the same encoder
    and decoder, of the same widths, together, as many as fit into `max_memory` bytes (what is free if not given), and
    half as many when memory runs out all the same. Raises UserError where not even one fits.
    """

    progress = progress or {}

    def alike(member: Member) -> tuple:
        spec, widths = member[0], recipe.networks
        # Where parameters are counted, the latent size decides the widths.
        counted = widths.encoder_parameters or widths.decoder_parameters
        saved = member in progress and progress[member].load()
        begun = (len(saved.history), saved.over(recipe.training.epochs)) if saved else (0, False)
        return spec.encoder, spec.decoder, counted and spec.latent_size, begun

    for (*_, (_, over)), pair in groupby(members, key=alike):
        yield from _train_pair(list(pair), images, recipe, device, max_memory, progress, over)


def _train_pair(
    members: list[Member],
    images: Tensor,
    recipe: Recipe,
    device: torch.device,
    max_memory: int | None,
    progress: dict[Member, Progress],
    over: bool,
) -> Iterator[Trained]:
    free = free_memory(device) if max_memory is None else max_memory
    widest = max((spec for spec, _ in members), key=lambda spec: spec.latent_size)
    need = needed(widest, tuple(images.shape[1:]), recipe, len(images))
    if need > free:
        raise UserError(
            f"{widest}: training takes about {need >> 20} MiB and {free >> 20} MiB are free;"
            " lower training.batch_size or networks, or give the job more memory"
        )
    together = device.type == "cuda" and not over and stackable(members, images, recipe)
    size = min(len(members), free // need) if together else 1
    waiting = list(members)
    while waiting:
        try:
            if together:
                done = train_together(waiting[:size], images, recipe, device, progress)
            else:
                done = [train(*waiting[0], images, recipe, device, progress.get(waiting[0]))]
        except torch.OutOfMemoryError:
            done = []  # what the failed attempt holds is only freed after this block
        if not done:
            if size == 1:
                raise UserError(f"{waiting[0][0]}: out of memory; lower training.batch_size or networks")
            log.warning("out of memory; going on with %d models at once", size // 2)
            torch.cuda.empty_cache()
            # Some may have been kept after an epoch that others have not finished.
            yield from train_all(waiting, images, recipe, device, size // 2 * need, progress)
            return
        yield from done
        waiting = waiting[len(done) :]


def needed(spec: Spec, image_shape: tuple[int, ...], recipe: Recipe, count: int) -> int:
    """About how many bytes the training of one model takes beside `count` images: weights, activations, draws."""
    batch, kept = 8, {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    # Nothing is computed, and no memory taken: a config may ask for more than there is.
    with torch.device("meta"):
        model = VAE(spec, image_shape, recipe.networks)
        inputs, noise = torch.zeros(batch, *to_planes(image_shape)), torch.zeros(batch, spec.latent_size)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            terms(recipe.objective, model(inputs, noise), inputs, spec.latent_size)
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    activations = sum(storage.nbytes() for pointer, storage in kept.items() if pointer not in weights) / batch
    # Weights, their gradients, two moments, a snapshot and a working copy; activations and their gradients.
    copies = 6 * 4 * sum(parameter.numel() for parameter in model.parameters())
    draws = count * (4 * spec.latent_size + 8 + recipe.binarise * prod(image_shape))
    return int(copies + 2 * activations * recipe.training.batch_size + draws)


@torch.no_grad()
def stackable(members: list[Member], images: Tensor, recipe: Recipe) -> bool:
    """Whether the narrowest and the widest of these models compute in a stack what they compute alone.

    Layers may not allow it: dropout, or a normalisation over the batch or over the code.
    """
    by_width = sorted(members, key=lambda member: member[0].latent_size)
    runs = [Run(*member, torch.device("cpu")) for member in (by_width[0], by_width[-1])]
    images = images[:2].cpu()
    inputs, noise = as_inputs(images), torch.zeros(len(images), by_width[-1][0].latent_size)
    try:
        stack = Stack(runs, images, recipe)
        together = stack.outputs(inputs.expand(2, *inputs.shape), noise.expand(2, *noise.shape))
        for index, run in enumerate(runs):
            latent_size = run.spec.latent_size
            alone = build(run.spec, tuple(images.shape[1:]), recipe.networks, run.weights_seed)
            for one, all_of_them in zip(alone(inputs, noise[:, :latent_size]), together, strict=True):
                padded = F.pad(one, (0, stack.widest.latent_size - latent_size)) if one.ndim == 2 else one
                torch.testing.assert_close(all_of_them[index], padded, rtol=1e-3, atol=1e-4)
    except (RuntimeError, AssertionError) as error:
        log.warning("trained one by one, for they compute something else together: %s", " ".join(str(error).split()))
        return False
    return True


class Stack:
    """Models of one encoder and decoder, layer upon layer; `step` is one step of training for each."""

    def __init__(self, runs: list[Run], images: Tensor, recipe: Recipe):
        shape, device, training = tuple(images.shape[1:]), images.device, recipe.training
        # One set of images for all models, or one for each.
        self.images = torch.stack([images] * len(runs)) if recipe.binarise else images[None]
        self.recipe, self.rows = recipe, torch.arange(len(runs), device=device)[:, None] % len(self.images)
        self.specs = [run.spec for run in runs]
        self.widest = max(self.specs, key=lambda spec: spec.latent_size)
        with torch.device("meta"):
            self.model = VAE(self.widest, shape, recipe.networks)
        built = [build(run.spec, shape, recipe.networks, run.weights_seed).state_dict() for run in runs]
        self.weights = {
            name: torch.stack([_fit(name, one[name], value.shape) for one in built]).to(device).requires_grad_()
            for name, value in self.model.state_dict().items()
        }
        self.latent_sizes = torch.tensor([spec.latent_size for spec in self.specs], device=device)
        self.optimizer = OPTIMIZERS[training.optimizer](self.weights.values(), lr=training.learning_rate, fused=True)
        self.totals = torch.zeros(len(runs), 3, device=device)

    def outputs(self, inputs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What `VAE` makes of images `[M, B, C, H, W]` and noise `[M, B, latent_size]`, for M models."""
        return torch.vmap(partial(functional_call, self.model))(self.weights, (inputs, noise))

    def step(self, chosen: Tensor, noise: Tensor) -> None:
        """A step on the images of these indices, `[M, B]`, with noise `[M, B, latent_size]`."""
        inputs = as_inputs(self.images[self.rows, chosen].flatten(0, 1)).unflatten(0, chosen.shape)
        with autocast(self.recipe.training.precision, inputs.device):
            outputs = self.outputs(inputs, noise)
        found = torch.vmap(partial(terms, self.recipe.objective))(outputs, inputs, self.latent_sizes)
        self.optimizer.zero_grad()
        # The sum's gradient in the weights of one model is that of its own loss.
        found[:, 0].sum().backward()
        self.optimizer.step()
        self.totals += found.detach() * chosen.shape[1]

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
        own = {name: _fit(name, weights[name][index], value.shape) for name, value in model.state_dict().items()}
        model.load_state_dict(own, assign=True)
        return model.requires_grad_()

    def moments(self, index: int, model: VAE) -> dict[str, Tensor]:
        """The optimiser's state of one model, out of its padding; the count of steps is everyone's."""
        shapes = {name: value.shape for name, value in model.state_dict().items()}
        return {
            path: _fit(name, value[index], shapes[name]) if value.ndim else value
            for path, value in moments(self.optimizer, self.weights).items()
            for name in [path.split("/", 1)[1]]
        }

    @torch.no_grad()
    def resume(self, saved: list[Saved]) -> None:
        """Go on from the weights and the optimiser's state of each model."""
        shapes = {name: value.shape[1:] for name, value in self.weights.items()}
        for name, value in self.weights.items():
            value.copy_(torch.stack([_fit(name, one.weights[name], shapes[name]) for one in saved]))
        for path, value in saved[0].moments.items():
            name = path.split("/", 1)[1]
            fitted = [_fit(name, one.moments[path], shapes[name]) for one in saved] if value.ndim else None
            restore(self.optimizer, self.weights, {path: torch.stack(fitted) if fitted else value})


class Replay:
    """A stack's step for batches of one size, recorded as a CUDA graph."""

    def __init__(self, stack: Stack, size: int):
        count, device = len(stack.specs), stack.images.device
        self.chosen = torch.zeros(count, size, dtype=torch.long, device=device)
        self.noise = torch.zeros(count, size, stack.widest.latent_size, device=device)
        for group in stack.optimizer.param_groups:
            group["capturable"] = True
        before = stack.snapshot()
        # Libraries set themselves up in their first calls, which must not be recorded.
        torch.cuda.synchronize(device)
        with torch.cuda.stream(torch.cuda.Stream(device)):
            for _ in range(3):
                stack.step(self.chosen, self.noise)
        torch.cuda.synchronize(device)
        stack.optimizer.zero_grad()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            stack.step(self.chosen, self.noise)
        # Nothing of this was training.
        with torch.no_grad():
            for name, value in before.items():
                stack.weights[name].copy_(value)
        for state in stack.optimizer.state.values():
            for value in filter(torch.is_tensor, state.values()):
                value.zero_()

    def step(self, chosen: Tensor, noise: Tensor) -> None:
        """As `Stack.step`."""
        self.chosen.copy_(chosen)
        self.noise.copy_(noise)
        self.graph.replay()


def train_together(
    members: list[Member],
    images: Tensor,
    recipe: Recipe,
    device: torch.device,
    progress: dict[Member, Progress] | None = None,
) -> list[Trained]:
    """Train models of one encoder and decoder at once; each comes out as `train` would leave it, up to rounding.

    They go on from `progress` where all have finished the same number of epochs there, and none has diverged.
    """
    images, training = images.to(device), recipe.training
    runs = [Run(spec, seed, device) for spec, seed in members]
    stack = Stack(runs, images, recipe)
    size = training.batch_size
    full = Replay(stack, size).step if device.type == "cuda" and len(images) >= size else stack.step
    noise = torch.zeros(len(runs), len(images), stack.widest.latent_size, device=device)
    order = torch.zeros(len(runs), len(images), dtype=torch.long, device=device)
    kept = [(progress or {}).get(member) for member in members]
    saved = [one and one.load() for one in kept]
    if all(saved) and {(len(one.history), one.status) for one in saved} == {(len(saved[0].history), "ok")}:
        stack.resume(saved)
        for run, one in zip(runs, saved, strict=True):
            run.resume(one)
    last, diverged = stack.snapshot(), {}
    for _ in range(len(runs[0].history), training.epochs):
        begun = perf_counter()
        stack.totals.zero_()
        for index, run in enumerate(runs):
            order[index], noise[index, :, : run.spec.latent_size] = run.draw(len(images))
            if recipe.binarise:
                stack.images[index] = run.images(images)
        for chosen, epsilon in zip(order.split(size, 1), noise.split(size, 1), strict=True):
            (full if chosen.shape[1] == size else stack.step)(chosen, epsilon)
        means, finite = (stack.totals / len(images)).tolist(), stack.finite()
        seconds = (perf_counter() - begun) / len(runs)
        before, last = last, stack.snapshot()
        for index, run in enumerate(runs):
            if run.status == "ok":
                run.record(means[index], finite[index], seconds)
                model = stack.member(index, last if run.status == "ok" else before)
                if run.status == "diverged":
                    diverged[index] = model
                if kept[index]:
                    kept[index].save(run.saved(model.state_dict(), stack.moments(index, model)))
    models = [diverged.get(index) or stack.member(index, last) for index in range(len(runs))]
    return [run.finish(model, len(images), len(runs)) for run, model in zip(runs, models, strict=True)]


def _fit(name: str, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A layer's weights padded with zeros, or cropped, to the shape that another latent size gives them."""
    # The rows of the heads are all means, then all log-variances.
    halves = 2 if name.startswith("encoder.heads.") else 1
    value, shape = value.unflatten(0, (halves, -1)), (halves, shape[0] // halves, *shape[1:])
    amounts = [(0, wanted - found) for wanted, found in zip(shape, value.shape, strict=True)]
    return F.pad(value, [amount for pair in reversed(amounts) for amount in pair]).flatten(0, 1)
