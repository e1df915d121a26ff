"""The grid of architectures: the grammar of labels, and the expansion of a study into models.

A model is written `L50_DNN1_CNN4`: latent size 50, an encoder of the family DNN with depth 1, a decoder of the family
CNN with depth 4. `DNN1_CNN4` is its pair.
"""

import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from vae.errors import UserError

NUMBER = "[1-9][0-9]{0,8}"
NETWORK = f"[A-Z]+{NUMBER}"
LABEL = f"L{NUMBER}_{NETWORK}_{NETWORK}"

# Where a model's files live below the folder of all models.
FOLDER = "L{latent_size}_{encoder}_{decoder}/seed{seed}"


@dataclass(frozen=True, order=True)
class Network:
    """One side of a model: a family of architectures and how many layers or blocks deep it is."""

    family: str
    depth: int

    @classmethod
    def parse(cls, text: str) -> "Network":
        """Parse `DNN4`; UserError on anything else."""
        parts = re.fullmatch(f"([A-Z]+)({NUMBER})", text) if isinstance(text, str) else None
        if not parts:
            raise UserError(f"{text!r} is not a network: write a family in capitals and a depth from 1, such as DNN4")
        family, depth = parts.groups()
        return cls(family, int(depth))

    def __str__(self) -> str:
        return f"{self.family}{self.depth}"


@dataclass(frozen=True)
class Spec:
    """The architecture of one model."""

    latent_size: int
    encoder: Network
    decoder: Network

    @classmethod
    def parse(cls, label: str) -> "Spec":
        """Parse `L50_DNN1_CNN4`; UserError on anything else."""
        if not re.fullmatch(LABEL, label):
            raise UserError(
                f"{label!r} is not a model's label: it reads L<latent size>_<encoder>_<decoder>, such as L50_DNN1_CNN4"
            )
        latent, encoder, decoder = label.split("_")
        return cls(int(latent[1:]), Network.parse(encoder), Network.parse(decoder))

    def __str__(self) -> str:
        return f"L{self.latent_size}_{self.encoder}_{self.decoder}"


def expand(grid: dict) -> list[Spec]:
    """Every latent size with every encoder and every decoder, latent size slowest.

    `grid` has the keys `latent_sizes` (ints), `encoders` and `decoders` (texts such as DNN4).
    Raises UserError for an empty list, an entry given twice, or one that cannot be parsed.
    """
    for key in ("latent_sizes", "encoders", "decoders"):
        entries = grid[key]
        if not entries:
            raise UserError(f"grid.{key} is empty: there is no model to train")
        if twice := sorted({str(entry) for entry in entries if entries.count(entry) > 1}):
            raise UserError(f"grid.{key} names {', '.join(twice)} more than once")
    sides = {}
    for key in ("encoders", "decoders"):
        try:
            sides[key] = [Network.parse(text) for text in grid[key]]
        except UserError as error:
            raise UserError(f"grid.{key}: {error}") from None
    return [Spec(*choice) for choice in product(grid["latent_sizes"], sides["encoders"], sides["decoders"])]


def folder(models: str | Path, spec: Spec, seed: int) -> Path:
    """The folder of one model below `models`."""
    return Path(models) / FOLDER.format(
        latent_size=spec.latent_size, encoder=spec.encoder, decoder=spec.decoder, seed=seed
    )


def parse_folder(path: str | Path) -> tuple[Spec, int]:
    """The architecture and the seed that a model's folder stands for; UserError where it is not such a folder."""
    path = Path(path)
    if not re.fullmatch("seed[0-9]{1,19}", path.name):
        raise UserError(f"{path}: not a model's folder, which ends on <label>/seed<k>")
    return Spec.parse(path.parent.name), int(path.name.removeprefix("seed"))
