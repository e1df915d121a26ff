"""The parts of a plan that need torch, which takes two seconds to load: building networks, and resources of jobs.

It is kept in the user's cache, by all that decides it, so that only the first plan of a study loads torch.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from itertools import product
from pathlib import Path

from vae import provenance
from vae.catalogue import STAGES
from vae.data import amounts, source
from vae.errors import UserError
from vae.files import cache, read_json, read_source, sha256, write_json

# Of each stage that works on a model or a pair, and each pair: MiB of memory and minutes of time.
Estimates = dict[str, dict[str, list[int]]]
ESTIMATED = [name for name, stage in STAGES.items() if stage.of != "study"]


def estimates(config: dict, on_gpu: bool) -> Estimates:
    """The resources of a study's jobs, by its whole config; none if Snakemake runs without torch (--sdm conda).

    The rule `check` then finds what is wrong. Raises UserError where a network cannot be built for the images, or more
    images are asked for than there are.
    """
    try:
        shape, test_images = source.extent(config["dataset"])
    except ImportError:  # of Pillow, which reads pictures
        return {}
    amounts.check(config, shape[0], test_images)
    decided_by = [config, shape, test_images, on_gpu, *_sources(config["families"])]
    kept = _file(sha256(json.dumps(decided_by, sort_keys=True).encode()))
    if kept:
        with suppress(UserError, OSError):
            return read_json(kept)
    if not find_spec("torch"):
        return {}
    made = _estimates(config, shape, test_images, on_gpu)
    if kept:
        with suppress(OSError):
            write_json(kept, made)
    return made


def _estimates(config: dict, shape: tuple[int, ...], test_images: int, on_gpu: bool) -> Estimates:
    from vae.models.own import load_families
    from vae.models.vae import check_grid
    from workflow.lib.resources import Budget

    if config["families"]:
        load_families(config["families"])
    check_grid(config, shape[1:])
    budget = Budget(config, shape, test_images)
    devices = {name: "cuda" if on_gpu and STAGES[name].gpu else "cpu" for name in ESTIMATED}
    models = len(config["training"]["seeds"]) * (len(config["grid"]["latent_sizes"]) if config["jobs"] == "pair" else 1)
    return {
        name: {
            f"{encoder}_{decoder}": [
                budget.memory(name, encoder, decoder, device),
                budget.minutes(name, encoder, decoder, models, device),
            ]
            for encoder, decoder in product(config["grid"]["encoders"], config["grid"]["decoders"])
        }
        for name, device in devices.items()
    }


def _sources(families: str | None) -> Iterator[str]:
    """Of the code that estimates, of all stages, and of a file of families."""
    if families:
        yield sha256(read_source(families, "families"))
    for file in sorted(Path(__file__).parent.glob("*.py")):
        yield sha256(file.read_bytes())
    yield from (provenance.source(name) for name in ESTIMATED)


def _file(name: str) -> Path | None:
    """Where the estimates of this name are kept; None for a user without a home."""
    with suppress(UserError):
        return cache() / "plans" / f"{name[:32]}.json"
    return None
