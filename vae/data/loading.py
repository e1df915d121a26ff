"""A dataset in Python, outside of any study."""

from pathlib import Path
from typing import Any

from vae import config as configuration
from vae.data import source
from vae.data.dataset import Dataset


def load_dataset(name: str, path: str | Path | None = None, **options: Any) -> Dataset:
    """Load a dataset as a study does.

    Parameters
    ----------
    name : str
        A name of docs/reference/data.md, such as `mnist` or `digits`; with a `path`, any name for data of your own.
    path : str or Path, optional
        A folder or an `.npz` of your own data.
    **options
        Other keys of the section `dataset` of the config, such as `resize=28`.

    Returns
    -------
    Dataset
        Images `uint8 [N, H, W]` or `[N, C, H, W]`, labels `int64 [N]` or None, and factors `int64 [N, factors]` or
        None, of a training, a validation and a test set.

    Raises
    ------
    UserError
        If the dataset is not available or not valid, or for an unknown option.

    Examples
    --------
    >>> digits = vae.load_dataset("digits")
    >>> digits.train_images.shape[1:], digits.train_images.dtype
    ((8, 8), dtype('uint8'))
    """
    given = {"name": name, "path": None if path is None else str(path)} | options
    return source.load(configuration.complete({"dataset": given}, configuration.schema())["dataset"])
