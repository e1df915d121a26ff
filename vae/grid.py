"""The grid of architectures: the grammar of labels, and the expansion of a study into models.

A model is written `L50_DNN1_CNN4`: latent size 50, an encoder of the family DNN with depth 1, a decoder of the family
CNN with depth 4. `DNN1_CNN4` is its pair. Where a study sweeps other keys of the config, `L50_DNN1_CNN4_beta2` differs
from it in one of them: `beta2` is its variant.
"""

import difflib
import re
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path

from vae.errors import UserError

NUMBER = "[1-9][0-9]{0,8}"
NETWORK = f"[A-Z]+(?:{NUMBER})?"
VARIANT = "[a-z][A-Za-z0-9.+-]{0,99}"
LABEL = f"L{NUMBER}_{NETWORK}_{NETWORK}(?:_{VARIANT})*"

# The families that this package has; any other comes in a file, the config's `families`.
BUILT_IN = ("LIN", "DNN", "CNN", "RES")

# Where a model's files live below the folder of all models.
FOLDER = "L{latent_size}_{encoder}_{decoder}{suffix}/seed{seed}"
# The parts of the config that decide a model beside its architecture and the data, and what of them cannot be swept.
SWEPT, FIXED = ("networks", "objective", "training"), ("training.seeds",)
MOST_VARIANTS = 10_000
TUNED = "training."


@dataclass(frozen=True, order=True)
class Network:
    """One side of a model: a family of architectures and how many layers or blocks deep it is, 0 for none."""

    family: str
    depth: int

    @property
    def is_own(self) -> bool:
        """Whether its family comes in a file, and not with this package."""
        return self.family not in BUILT_IN

    @classmethod
    def parse(cls, text: str) -> "Network":
        """Parse `DNN4`, or `LIN`, which has no hidden layer; UserError on anything else."""
        parts = re.fullmatch(f"([A-Z]+)({NUMBER})?", text) if isinstance(text, str) else None
        if not parts:
            raise UserError(f"{text!r} is not a network: write a family in capitals and a depth from 1, such as DNN4")
        family, depth = parts.groups(default="0")
        return cls(family, int(depth))

    def __str__(self) -> str:
        return f"{self.family}{self.depth or ''}"


@dataclass(frozen=True)
class Spec:
    """The architecture of one model, and in what it varies from the config, as in its label; `""` for nothing."""

    latent_size: int
    encoder: Network
    decoder: Network
    variant: str = ""

    @classmethod
    def parse(cls, label: str) -> "Spec":
        """Parse `L50_DNN1_CNN4` or `L50_DNN1_CNN4_beta2`; UserError on anything else."""
        if not re.fullmatch(LABEL, label):
            raise UserError(
                f"{label!r} is not a model's label: it reads L<latent size>_<encoder>_<decoder>, such as L50_DNN1_CNN4"
            )
        latent, encoder, decoder, *variant = label.split("_")
        return cls(int(latent[1:]), Network.parse(encoder), Network.parse(decoder), "_".join(variant))

    def __str__(self) -> str:
        return f"L{self.latent_size}_{self.encoder}_{self.decoder}{suffix(self.variant)}"

    @property
    def pair(self) -> str:
        """Encoder and decoder, as in `DNN1_CNN4`."""
        return f"{self.encoder}_{self.decoder}"


def suffix(variant: str) -> str:
    """The part of a label that names the variant."""
    return f"_{variant}" if variant else ""


def expand(config: dict) -> list[Spec]:
    """Every latent size with every encoder and every decoder, latent size slowest, in every variant of a config.

    Its `grid` has the keys `latent_sizes` (ints), `encoders` and `decoders` (texts such as DNN4), and may have `sweep`.
    Raises UserError for an empty list, an entry given twice, or one that cannot be parsed.
    """
    grid = config["grid"]
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
    choices = product(grid["latent_sizes"], sides["encoders"], sides["decoders"], variants(config))
    return [Spec(*choice) for choice in choices]


def variants(config: dict) -> dict[str, dict]:
    """The variants of a config by name, each with the keys in which it differs, as in `{"objective.beta": 2}`.

    They are all combinations of the values that `grid.sweep` lists, and of the config's own, whose name is `""` and
    which comes first. Raises UserError for a key that cannot be swept, or a value that is listed twice.
    """
    axes = []
    for key, values in config["grid"].get("sweep", {}).items():
        usual, names = _value(_swept(config, key)), _values(key, values)
        others = [(key, value, name) for value, name in zip(values, names, strict=True) if name != usual]
        axes.append([None, *others])
    if prod(len(axis) for axis in axes) > MOST_VARIANTS:
        raise UserError(f"more than {MOST_VARIANTS} combinations of values")
    combined = {}
    for choice in product(*axes):
        differing = [axis for axis in choice if axis]
        name = "_".join(key.split(".")[1].replace("_", "-") + value for key, _, value in differing)
        combined[name] = {key: value for key, value, _ in differing}
    return combined


def tuned(config: dict) -> str | None:
    """The key of which `grid.tune` has the values that every pair chooses from; None where there is none.

    Raises UserError for a key of another section, which would change the loss that values are compared by, or the
    networks; for one that is swept too; and for a value that is listed twice.
    """
    for key, values in config["grid"].get("tune", {}).items():
        _swept(config, key)
        if not key.startswith(TUNED):
            raise UserError(f"{key}: cannot be tuned; keys of training can, by which the loss stays the same")
        _values(key, values)
        if key in config["grid"].get("sweep", {}):
            raise UserError(f"{key}: is swept too; a key is either swept or tuned")
        return key
    return None


def sentinels(config: dict) -> list[Spec]:
    """The models that are trained at twice the budget too, to see what that would change.

    They are made of the simplest networks of each family on both sides, and of its deepest, at the largest latent size,
    which takes longest to train. A side without the family has the simplest and the deepest of all.
    """
    if not config["evaluation"]["budget_fidelity"]:
        return []
    sides = [sorted(map(Network.parse, config["grid"][f"{side}s"]), key=_by_depth) for side in ("encoder", "decoder")]
    size = max(config["grid"]["latent_sizes"])
    pairs: dict[tuple[Network, Network], None] = {}
    for family in sorted({network.family for side in sides for network in side}):
        like = [[network for network in side if network.family == family] or side for side in sides]
        pairs |= dict.fromkeys((like[0][extreme], like[1][extreme]) for extreme in (0, -1))
    return [Spec(size, *pair) for pair in pairs]


def _by_depth(network: Network) -> int:
    return network.depth


def _values(key: str, values: list) -> list[str]:
    """Values of an axis as labels have them; UserError where one is there twice."""
    names = [_value(value) for value in values]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{key} names {', '.join(twice)} more than once")
    return names


def _swept(config: dict, key: str) -> object:
    """The config's value of a key that is swept or tuned; UserError if there is no such key, or it cannot vary."""
    section, _, name = str(key).partition(".")  # YAML has keys that are no text
    if section not in SWEPT or key in FIXED:
        raise UserError(
            f"{key}: cannot vary between models; keys of {', '.join(SWEPT)} can, but for {', '.join(FIXED)}"
        )
    if name not in config[section]:
        expected = [f"{part}.{known}" for part in SWEPT for known in config[part]]
        guess = difflib.get_close_matches(key, expected, 1)
        raise UserError(f"{key}: unknown key" + (f"; did you mean {guess[0]!r}?" if guess else ""))
    return config[section][name]


def _value(value: object) -> str:
    """A value as labels have it: `2` also for 2.0, `-none` for null, and `-adam` for a word."""
    if isinstance(value, bool | str) or value is None:
        return f"-{str(value).lower()}"
    return f"{value:.12g}"


def varied(config: dict, values: dict) -> dict:
    """A copy of a config with other values of some keys, as in `{"objective.beta": 2}`."""
    changed = dict(config)
    for key, value in values.items():
        section, _, name = key.partition(".")
        changed[section] = changed[section] | {name: value}
    return changed


def folder(models: str | Path, spec: Spec, seed: int) -> Path:
    """The folder of one model below `models`."""
    return Path(models) / FOLDER.format(
        latent_size=spec.latent_size,
        encoder=spec.encoder,
        decoder=spec.decoder,
        suffix=suffix(spec.variant),
        seed=seed,
    )


def parse_folder(path: str | Path) -> tuple[Spec, int]:
    """The architecture and the seed that a model's folder stands for; UserError where it is not such a folder."""
    path = Path(path)
    if not re.fullmatch("seed[0-9]{1,19}", path.name):
        raise UserError(f"{path}: not a model's folder, which ends on <label>/seed<k>")
    return Spec.parse(path.parent.name), int(path.name.removeprefix("seed"))
