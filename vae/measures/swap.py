"""The encoder swap: an encoder that is fitted anew to a decoder which another encoder has trained, and which is frozen.

M_ij = max over encoders of the architecture i of the ELBO with the decoder that was trained with an encoder of the
architecture j. All encoders i of one decoder share log p(x) and the best Gaussian of every image: they differ by their
amortisation gaps alone (Cremer, Li & Duvenaud 2018).
"""

from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from vae import grid, provenance, seeds
from vae.data.dataset import Dataset, subset
from vae.errors import UserError
from vae.files import sha256
from vae.grid import Network, parse_folder
from vae.measures import losses
from vae.training import checkpoint, devices, loop
from vae.training.recipe import Recipe

TERMS = ("reconstruction", "kld", "elbo")
LOSSES = [*TERMS, *(f"train_{name}" for name in TERMS)]


class Donors:
    """Trained models whose decoders encoders are fitted to, by a recipe, on a device.

    `facts` is what the dataset's .json says of it. Trainings are kept in the folder `kept`, from which one that was
    interrupted resumes.
    """

    def __init__(self, dataset: Dataset, facts: dict, recipe: Recipe, device: torch.device, kept: Path):
        self.facts, self.recipe, self.device, self.kept = facts, recipe, device, kept
        devices.set_arithmetic(recipe.training.precision)
        self.images = torch.from_numpy(subset(dataset.train_images, recipe.training.images)).to(device)
        self.sets = losses.Sets(dataset, recipe.training.images)

    def fit(self, folder: Path, encoder: Network) -> dict:
        """The losses of an encoder that is refitted to the decoder of a model's folder.

        Keys: latent_size, encoder, decoder; trained_with, the encoder that trained the decoder; seed; status, `ok` or
        `diverged`, also where the decoder is of a model that diverged; reconstruction, kld and elbo on test images, and
        on training images with `train_` before their names, in nats per image, None where they are not known.
        """
        donor, seed = parse_folder(folder)
        spec = replace(donor, encoder=encoder)
        names = {"latent_size": spec.latent_size, "encoder": str(encoder), "decoder": str(spec.decoder)}
        names |= {"trained_with": str(donor.encoder), "seed": seed}
        data = {key: self.facts[key] for key in ("name", "sha256")}
        if provenance.read(folder / "provenance.json")["dataset"] != data:
            raise UserError(f"{folder}: its decoder was trained on other data than {data['name']}")
        if provenance.read(folder / "metrics.json")["status"] != "ok":
            return names | {"status": "diverged"} | dict.fromkeys(LOSSES)
        decoder = checkpoint.load(folder).decoder
        place = self.kept / str(donor.encoder)
        facts = self.facts | {"sha256": f"{self.facts['sha256']} {digest(decoder)}"}
        progress = checkpoint.progress(grid.folder(place, spec, seed), self.recipe, facts, self.device)
        trained = loop.train(spec, seed, self.images, self.recipe, self.device, progress, decoder)
        if digest(trained.model.decoder) != digest(decoder):
            raise RuntimeError(f"{folder}: the decoder has changed while {encoder} was fitted to it")
        return names | {"status": trained.status} | self._losses(trained, seed)

    def _losses(self, trained: loop.Trained, seed: int) -> dict[str, float | None]:
        if trained.status != "ok":
            return dict.fromkeys(LOSSES)
        model, objective = trained.model, self.recipe.objective
        test = losses.evaluate(model, self.sets.test, objective, seeds.of_model("losses", seed))
        train = losses.evaluate(model, self.sets.compared, objective, seeds.of_study("slack"))
        return {name: test[name] for name in TERMS} | {f"train_{name}": train[name] for name in TERMS}


def digest(module: nn.Module) -> str:
    """The hash of a module's weights."""
    weights = {name: value.contiguous().cpu() for name, value in module.state_dict().items()}
    return sha256(safetensors.torch.save(weights))
