"""One model in Python, without a study: the recipe of the default study, with the keys that are given."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae import config as configuration
from vae.data.dataset import checked_part, subset
from vae.errors import UserError
from vae.grid import Spec
from vae.models.vae import check_grid
from vae.training import devices, loop
from vae.training.loop import Trained
from vae.training.recipe import Recipe

SECTIONS = ("networks", "objective", "training")


def train(
    label: str, images: np.ndarray | Tensor, config: dict[str, Any] | None = None, seed: int = 0, device: str = "auto"
) -> Trained:
    """Train one VAE on images.

    Parameters
    ----------
    label : str
        Latent size, encoder and decoder, such as `L20_DNN1_CNN2`.
    images : array or tensor
        `uint8 [N, H, W]` or `[N, C, H, W]`, from 0 to 255.
    config : dict, optional
        Keys that differ from the defaults, in the sections `networks`, `objective` and `training` of a study's config,
        such as `{"objective": {"reduction": "sum"}, "training": {"epochs": 20}}`; config/README.md has all keys.
    seed : int
        Decides initial weights, the order of images, and noise.
    device : str
        `cpu`, `cuda`, or `auto`, a GPU if there is one.

    Returns
    -------
    Trained
        `model`, an `nn.Module` in evaluation mode; `history`, a dict per epoch with losses in nats per training image;
        `status`, `ok` or `diverged`. `export.save` writes it as a folder.

    Raises
    ------
    UserError
        For a label, images or a key that is not valid; the message says what to do.

    Examples
    --------
    >>> import numpy as np, vae
    >>> images = np.random.default_rng(0).integers(0, 256, (200, 8, 8), np.uint8)
    >>> trained = vae.train("L2_DNN1_DNN1", images, {"training": {"epochs": 2}})
    >>> trained.status, len(trained.history)
    ('ok', 2)
    """
    spec = Spec.parse(label)
    if spec.variant:
        raise UserError(f"{label}: is of a sweep; give the label without {spec.variant!r}, and its values as config")
    if unknown := set(config or {}) - set(SECTIONS):
        raise UserError(f"config: {min(unknown)}: one model has the sections {', '.join(SECTIONS)}")
    grid = {"latent_sizes": [spec.latent_size], "encoders": [str(spec.encoder)], "decoders": [str(spec.decoder)]}
    complete = configuration.complete({"grid": grid, "device": device} | (config or {}), configuration.schema())
    array = checked_part(
        "train_images", images.cpu().numpy() if isinstance(images, Tensor) else np.asarray(images), "images"
    )
    check_grid(complete, array.shape[1:])
    recipe = Recipe.of(complete)
    trained_on = torch.tensor(subset(array, recipe.training.images))
    devices.set_arithmetic(recipe.training.precision)
    trained = loop.train(spec, seed, trained_on, recipe, devices.pick(device))
    trained.model.eval()
    return trained
