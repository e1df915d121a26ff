"""A dataset in Python, outside of any study."""

from pathlib import Path
from typing import Any

from vae import config as configuration
from vae.data import source
from vae.data.dataset import Dataset


def load_dataset(name: str, path: str | Path | None = None, **options: Any) -> Dataset:
    """A dataset as a study has it: images `uint8`, labels and factors, in training, validation and test sets.

    `name` is one of docs/reference/data.md, such as `mnist` or `digits`, or, with a `path`, any name for data of your
    own. `options` are the other keys of the section `dataset` of the config, such as `resize=28`. Raises UserError
    where it is not available or is unsound, or for an unknown option.
    """
    given = {"name": name, "path": None if path is None else str(path)} | options
    return source.load(configuration.complete({"dataset": given}, configuration.schema())["dataset"])
