"""How a model is trained: all hyperparameters beside its architecture, its seed and the data."""

from dataclasses import dataclass

import torch

from vae.models.widths import Widths
from vae.training.objective import Objective

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


@dataclass(frozen=True)
class Training:
    """How a model is trained: `images` is how many of the training images are used, None for all."""

    optimizer: str
    learning_rate: float
    batch_size: int
    epochs: int
    images: int | None
    precision: str = "fp32"


@dataclass(frozen=True)
class Recipe:
    """All that decides a model beside its architecture, its seed and the data.

    Where `binarise` is true, the training images are drawn anew in every epoch: each pixel white with its grey level as
    the probability, and black otherwise.
    """

    networks: Widths
    objective: Objective
    training: Training
    binarise: bool = False

    @classmethod
    def of(cls, config: dict, binarise: bool = False) -> "Recipe":
        """The recipe of a study's config; the seeds are not part of it."""
        training = {key: value for key, value in config["training"].items() if key != "seeds"}
        return cls(Widths(**config["networks"]), Objective(**config["objective"]), Training(**training), binarise)
