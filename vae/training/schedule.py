"""Which models are trained together: those of one job, as stacks on a GPU, one after the other on a CPU."""

import logging
from collections.abc import Iterator
from itertools import groupby
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor

from vae.errors import UserError
from vae.models.vae import VAE, as_inputs, build
from vae.training.cuda_graph import Replay
from vae.training.devices import free_memory
from vae.training.loop import Run, Trained, shares, train
from vae.training.memory import needed
from vae.training.recipe import Recipe
from vae.training.stack import Member, Stack
from vae.training.state import Progress

log = logging.getLogger(__name__)


def alike(members: list[Member], recipes: dict[str, Recipe]) -> Iterator[tuple[Recipe, list[Member]]]:
    """Models whose recipes differ at most as those of a stack may, with the recipe of the first.

    Raises UserError for a variant that has no recipe.
    """
    groups: dict[Recipe, list[Member]] = {}
    for spec, seed in members:
        if spec.variant not in recipes:
            raise UserError(
                f"{spec}: the config does not sweep this; it has {', '.join(filter(None, recipes)) or 'nothing'}"
            )
        groups.setdefault(recipes[spec.variant].stacked, []).append((spec, seed))
    for group in groups.values():
        yield recipes[group[0][0].variant], group


def train_all(
    members: list[Member],
    images: Tensor,
    recipes: dict[str, Recipe],
    device: torch.device,
    max_memory: int | None = None,
    progress: dict[Member, Progress] | None = None,
) -> Iterator[Trained]:
    """Train models, given as (spec, seed), by the recipe of their variant, and yield them in their order.

    Each resumes from its `progress`, where that has been kept.

    A CPU trains one after the other, which is faster there; a GPU those that follow each other with the same encoder
    and decoder, of the same widths, together, as many as fit into `max_memory` bytes (what is free if not given), and
    half as many when memory runs out all the same. Raises UserError where not even one fits.
    """
    progress = progress or {}

    def together(member: Member) -> tuple:
        spec, _ = member
        recipe = recipes[spec.variant]
        widths = recipe.networks
        # Where parameters are counted, the latent size decides the widths.
        counted = widths.encoder_parameters or widths.decoder_parameters
        saved = member in progress and progress[member].load()
        begun = (len(saved.history), saved.over(recipe.training.epochs)) if saved else (0, False)
        return spec.encoder, spec.decoder, recipe.stacked, counted and spec.latent_size, begun

    for (*_, (_, over)), pair in groupby(members, key=together):
        yield from _train_pair(list(pair), images, recipes, device, max_memory, progress, over)


def _train_pair(
    members: list[Member],
    images: Tensor,
    recipes: dict[str, Recipe],
    device: torch.device,
    max_memory: int | None,
    progress: dict[Member, Progress],
    over: bool,
) -> Iterator[Trained]:
    recipe = recipes[members[0][0].variant]
    free = free_memory(device) if max_memory is None else max_memory
    widest = max((spec for spec, _ in members), key=lambda spec: spec.latent_size)
    need = needed(widest, tuple(images.shape[1:]), recipe, len(images), device.type == "cuda")
    if need > free:
        raise UserError(
            f"{widest}: training takes about {need >> 20} MiB and {free >> 20} MiB are free;"
            " lower training.batch_size or networks, or give the job more memory"
        )
    together = device.type == "cuda" and not over and stackable(members, images, recipes)
    size = min(len(members), free // need) if together else 1
    waiting = list(members)
    while waiting:
        try:
            if together:
                done = train_together(waiting[:size], images, recipes, device, progress)
            else:
                spec, seed = member = waiting[0]
                done = [train(spec, seed, images, recipes[spec.variant], device, progress.get(member))]
        except torch.OutOfMemoryError:
            done = []  # the memory of the failed attempt is only freed after this block
        if not done:
            if size == 1:
                spec, _ = waiting[0]
                raise UserError(f"{spec}: out of memory; lower training.batch_size or networks")
            log.warning("out of memory; retrying with %d models at once", size // 2)
            torch.cuda.empty_cache()
            # Some may have been kept after an epoch that others have not finished.
            yield from train_all(waiting, images, recipes, device, size // 2 * need, progress)
            return
        yield from done
        waiting = waiting[len(done) :]


def train_together(
    members: list[Member],
    images: Tensor,
    recipes: dict[str, Recipe],
    device: torch.device,
    progress: dict[Member, Progress] | None = None,
) -> list[Trained]:
    """Train models of one encoder and decoder at once; each comes out as `train` would leave it, up to rounding.

    They resume from `progress` where all have finished the same number of epochs there, and none has diverged.
    """
    images = images.to(device)
    deterministic = recipes[members[0][0].variant].deterministic
    runs = [Run(spec, seed, device, deterministic) for spec, seed in members]
    stack = Stack(runs, images, recipes)
    recipe, size = stack.recipe, stack.recipe.training.batch_size
    full = Replay(stack, size).step if device.type == "cuda" and len(images) >= size else stack.step
    noise = torch.zeros(len(runs), len(images), stack.widest.latent_size, device=device)
    order = torch.zeros(len(runs), len(images), dtype=torch.long, device=device)
    kept = [(progress or {}).get(member) for member in members]
    _resume(stack, runs, kept)
    last = stack.snapshot()
    diverged: dict[int, VAE] = {}
    for epoch in range(len(runs[0].history), recipe.training.epochs):
        begun = perf_counter()
        stack.totals.zero_()
        for index, run in enumerate(runs):
            order[index], noise[index, :, : run.spec.latent_size] = run.draw(len(images))
            if recipe.binarise:
                stack.images[index] = run.images(images)
        batches = zip(order.split(size, 1), noise.split(size, 1), strict=True)
        for done, (chosen, epsilon) in zip(shares(recipe, len(images), epoch), batches, strict=True):
            stack.set_done(done)
            (full if chosen.shape[1] == size else stack.step)(chosen, epsilon)
        means, finite = (stack.totals / len(images)).tolist(), stack.finite()
        seconds = (perf_counter() - begun) / len(runs)
        before, last = last, stack.snapshot()
        for index, (run, unfinished) in enumerate(zip(runs, kept, strict=True)):
            if run.status == "ok":
                run.record(means[index], finite[index], seconds)
                model = stack.member(index, last if run.status == "ok" else before)
                if run.status == "diverged":
                    diverged[index] = model
                if unfinished:
                    unfinished.save(run.saved(model.state_dict(), stack.moments(index, model)))
    models = [diverged.get(index) or stack.member(index, last) for index in range(len(runs))]
    return [run.finish(model, len(images), len(runs)) for run, model in zip(runs, models, strict=True)]


def _resume(stack: Stack, runs: list[Run], kept: list[Progress | None]) -> None:
    """Resume all models, where all have finished the same number of epochs and none has diverged."""
    saved = [state for unfinished in kept if unfinished and (state := unfinished.load())]
    epochs = {len(state.history) for state in saved}
    if len(saved) == len(runs) and len(epochs) == 1 and all(state.status == "ok" for state in saved):
        stack.resume(saved)
        for run, state in zip(runs, saved, strict=True):
            run.resume(state)


def _latent_size(member: Member) -> int:
    spec, _ = member
    return spec.latent_size


@torch.no_grad()
def stackable(members: list[Member], images: Tensor, recipes: dict[str, Recipe]) -> bool:
    """Whether the narrowest and the widest of these models compute in a stack what they compute alone.

    Layers may not allow it: dropout, or a normalisation over the batch or over the code.
    """
    by_width = sorted(members, key=_latent_size)
    runs = [Run(spec, seed, torch.device("cpu")) for spec, seed in (by_width[0], by_width[-1])]
    images = images[:2].cpu()
    inputs, noise = as_inputs(images), torch.zeros(len(images), runs[-1].spec.latent_size)
    try:
        stack = Stack(runs, images, recipes)
        together = stack.outputs(inputs.expand(2, *inputs.shape), noise.expand(2, *noise.shape))
        for index, run in enumerate(runs):
            latent_size = run.spec.latent_size
            alone = build(run.spec, tuple(images.shape[1:]), stack.recipe.networks, run.weights_seed)
            for output, stacked in zip(alone(inputs, noise[:, :latent_size]), together, strict=True):
                # Mean and log-variance have the size of the code, logits have that of the image.
                padded = F.pad(output, (0, stack.widest.latent_size - latent_size)) if output.ndim == 2 else output
                torch.testing.assert_close(stacked[index], padded, rtol=1e-3, atol=1e-4)
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())
        log.warning("falling back to training one by one, because they compute something else together: %s", reason)
        return False
    return True
