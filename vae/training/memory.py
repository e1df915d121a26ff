"""How much memory the training of a model takes."""

from contextlib import nullcontext
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vae.grid import Spec
from vae.models.vae import VAE, to_planes
from vae.training.loop import terms
from vae.training.products import by_products
from vae.training.recipe import Recipe


def needed(spec: Spec, image_shape: tuple[int, ...], recipe: Recipe, count: int, stacked: bool = False) -> int:
    """About how many bytes the training of one model takes beside `count` images: weights, activations, draws.

    Where it is `stacked`, also what its convolutions are laid out in as products.
    """
    batch, kept, largest = recipe.training.batch_size, {}, Largest()

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    # Nothing is computed, and no memory taken: a config may ask for more than there is.
    with torch.device("meta"):
        model = VAE(spec, image_shape, recipe.networks)
        if stacked:
            by_products(model)
        inputs, noise = torch.zeros(batch, *to_planes(image_shape)), torch.zeros(batch, spec.latent_size)
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            largest if stacked else nullcontext(),
        ):
            loss, *_ = terms(recipe.objective, model(inputs, recipe.training.codes(noise)), inputs, 1.0)
            if stacked:
                loss.backward()
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    activations = sum(storage.nbytes() for pointer, storage in kept.items() if pointer not in weights)
    # Weights, their gradients, two moments, a snapshot, those before a step of a stack, and a working copy; activations
    # and their gradients; the largest of what is made and left again, and a copy.
    copies = 7 * 4 * sum(parameter.numel() for parameter in model.parameters())
    draws = count * (4 * spec.latent_size + 8 + recipe.binarise * prod(image_shape))
    return copies + 2 * (activations + largest.nbytes) + draws


class Largest(TorchDispatchMode):
    """Records the size of the largest tensor that is made, in bytes."""

    nbytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, Tensor):
                self.nbytes = max(self.nbytes, tensor.untyped_storage().nbytes())
        return made
