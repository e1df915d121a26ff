"""Models that are trained to be compared, and not kept: those of tuning, of the budget's fidelity, and of control."""

from collections.abc import Iterator
from pathlib import Path

import torch

from vae import grid, seeds
from vae.data.dataset import Dataset, subset
from vae.measures import losses
from vae.training import checkpoint, devices, schedule
from vae.training.loop import Trained
from vae.training.recipe import Recipe
from vae.training.stack import Member


def train(
    members: list[Member],
    dataset: Dataset,
    facts: dict,
    recipes: dict[str, Recipe],
    device: torch.device,
    folder: Path,
) -> Iterator[tuple[Member, Trained]]:
    """Train models by the recipe of their variant, and yield each with what it is; those of like recipes come together.

    `facts` is what the dataset's .json says of it. Trainings are kept in `folder`, from which one that was interrupted
    resumes.
    """
    for recipe, alike in schedule.alike(members, recipes):
        devices.set_arithmetic(recipe.training.precision)
        images = torch.from_numpy(subset(dataset.train_images, recipe.training.images)).to(device)
        progress = {
            (spec, seed): checkpoint.progress(grid.folder(folder, spec, seed), recipes[spec.variant], facts, device)
            for spec, seed in alike
        }
        yield from zip(alike, schedule.train_all(alike, images, recipes, device, progress=progress), strict=True)


def validation_losses(
    members: list[Member],
    dataset: Dataset,
    facts: dict,
    recipes: dict[str, Recipe],
    device: torch.device,
    folder: Path,
) -> list[float | None]:
    """The loss of each model on the validation images after training, in nats per image; None if it diverged.

    It is what was minimised: reconstruction + effective beta · KLD.
    """
    validation = torch.from_numpy(dataset.validation_images)
    values: dict[Member, float | None] = {}
    for (spec, seed), trained in train(members, dataset, facts, recipes, device, folder):
        objective, draws = recipes[spec.variant].objective, seeds.of_model("validation_losses", seed)
        measured = losses.evaluate(trained.model, validation, objective, draws)
        value = losses.minimised(measured, objective, validation[0].numel(), spec.latent_size)
        # A model that diverged has the weights of its last finite epoch, and would have a loss.
        values[spec, seed] = value if trained.status == "ok" else None
    return [values[member] for member in members]
