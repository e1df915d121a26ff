"""The resources of a job, estimated from its models: memory and time.

Both are generous. A job that asks for too much waits a little longer; one that asked for too little is ended, and tried
again with more. `workflow.lib.plan` keeps the estimates, as this module loads torch.
"""

from functools import cache
from math import ceil, prod
from typing import NamedTuple

import torch

from vae.grid import Network, Spec
from vae.measures import gaps
from vae.models.flops import estimated_flops
from vae.models.vae import VAE, to_planes
from vae.training.memory import needed
from vae.training.recipe import Recipe

# MiB before any model: Python and torch (700, measured), the Snakemake that a cluster runs each job in (300), and room;
# more where CUDA's libraries are loaded (not measured on a GPU).
BASE = {"cpu": 1500, "cuda": 6000}
# FLOP/s to count on: a sixth of the slowest training in benchmarks/README.md, of a CPU thread and of a GPU.
SPEED = {"cpu": 1e10, "cuda": 1e12}
# Codes that are decoded of an image to find its gaps, from two starts, with what the gradients of the search cost.
CODES_OF_GAPS = 2 * 3 * gaps.STEPS * gaps.CODES + 3 * gaps.CHOOSING + 2 * gaps.ESTIMATING + gaps.IMPORTANCE
# Minutes of a job, and of each of its models, beside their products.
START, PER_MODEL = 10, 0.25


class Cost(NamedTuple):
    """Of the model of the largest latent size of a pair: bytes to train it in, FLOPs of each side for an image.

    And how many images it is trained on, times the epochs.
    """

    training: int
    encoder: int
    decoder: int
    passes: int


class Budget:
    """The jobs of a study, of its whole config; with training images of shape `(N, H, W)` or `(N, C, H, W)`."""

    def __init__(self, config: dict, shape: tuple[int, ...], test_images: int):
        self.config, self.shape, self.test_images = config, shape, test_images
        self.recipes = list(Recipe.of_variants(config, config["dataset"]["binarise"]).values())
        self.pair = cache(self._pair)  # all stages ask for each

    def memory(self, stage: str, encoder: str, decoder: str, device: str) -> int:
        """MiB of host memory of a job of a stage on models of this pair, on `cpu` or `cuda`."""
        evaluation, pixels = self.config["evaluation"], prod(self.shape[1:])
        # Silhouette and mutual information compare images with images; draws from the prior are decoded, and images.
        compared = 5 * 8 * (evaluation["separability_images"] or self.test_images) ** 2
        drawn = 3 * 4 * evaluation["prior_samples"] * pixels
        data = 3 * (self.shape[0] + self.test_images) * pixels
        trained = max(cost.training for cost in self.pair(encoder, decoder))
        # Gradients on codes, of which many more are decoded at once than in a step of training.
        searched = trained * gaps.ROWS // self.config["training"]["batch_size"]
        more = {"measure": max(compared, drawn), "gaps": searched}.get(stage, 0)
        return BASE[device] + (data + trained + more) // 2**20

    def minutes(self, stage: str, encoder: str, decoder: str, models: int, device: str) -> int:
        """Minutes of a job of a stage on that many models of this pair, each in every variant."""
        costs = self.pair(encoder, decoder)
        grid, seeds = self.config["grid"], len(self.config["training"]["seeds"])
        sizes, values = len(grid["latent_sizes"]), max(map(len, grid["tune"].values()), default=0)
        # As many trainings; one of a sentinel is twice as long.
        trainings = {
            "tune": sizes * values,
            "fidelity": 2,
            "swap": sizes * seeds * len(grid["encoders"]),
            "control": sizes,
        }
        if stage in trainings:
            return self._minutes("train", costs[0], trainings[stage], device)
        # Models that a sweep adds have no gaps.
        return sum(self._minutes(stage, cost, models, device) for cost in (costs[:1] if stage == "gaps" else costs))

    def _minutes(self, stage: str, cost: Cost, models: int, device: str) -> int:
        evaluation = self.config["evaluation"]
        bounded = evaluation["likelihood_images"] or self.test_images
        # How many images pass forward through encoder and decoder; a step of training is three passes.
        encoded, decoded = {
            "train": (3 * cost.passes, 3 * cost.passes),
            "gaps": (2 * evaluation["gap_images"], 2 * evaluation["gap_images"] * CODES_OF_GAPS),
            "measure": (self.shape[0] + bounded, self.shape[0] + bounded * evaluation["likelihood_samples"]),
        }.get(stage, (self.shape[0], self.shape[0]))
        if stage == "train" and self.config["training"]["antithetic"]:
            decoded *= 2
        work = encoded * cost.encoder + decoded * cost.decoder
        return ceil(START + models * (PER_MODEL + work / SPEED[device] / 60))

    def _pair(self, encoder: str, decoder: str) -> list[Cost]:
        """The cost of every variant, that of the config itself first."""
        return [self._cost(recipe, encoder, decoder) for recipe in self.recipes]

    def _cost(self, recipe: Recipe, encoder: str, decoder: str) -> Cost:
        spec = Spec(max(self.config["grid"]["latent_sizes"]), Network.parse(encoder), Network.parse(decoder))
        images = recipe.training.images or self.shape[0]
        with torch.device("meta"):
            model = VAE(spec, self.shape[1:], recipe.networks)
            inputs, codes = torch.zeros(1, *to_planes(self.shape[1:])), torch.zeros(1, spec.latent_size)
        need = needed(spec, self.shape[1:], recipe, images)
        sides = estimated_flops(model.encoder, inputs), estimated_flops(model.decoder, codes)
        return Cost(need, *sides, images * recipe.training.epochs)
