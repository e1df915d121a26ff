"""Readers of the files of users: a folder of IDX files, or an .npz."""

import re
from pathlib import Path

from vae.data import dataset
from vae.data.dataset import LABELS, PARTS, Dataset, checked
from vae.data.idx import named, read_idx
from vae.errors import UserError

# The usual names of the four files, as distributed (`-idx3-`) and as often unpacked (`.idx3-`).
IDX_NAMES = {
    "train_images": r"train-images[-.]idx\d-ubyte(\.gz)?",
    "train_labels": r"train-labels[-.]idx1-ubyte(\.gz)?",
    "test_images": r"(t10k|test)-images[-.]idx\d-ubyte(\.gz)?",
    "test_labels": r"(t10k|test)-labels[-.]idx1-ubyte(\.gz)?",
}


def read(path: str | Path, name: str = "own") -> Dataset:
    """Read a folder of IDX files (plain or .gz) or an .npz with the arrays in `PARTS`.

    Labels may be missing. Raises UserError, naming the file, for one that is missing, truncated, of a wrong type, holds
    pickled objects, is larger than the memory that is free, or does not match the others.
    """
    path = Path(path)
    if path.suffix == ".npz":
        return dataset.read(path, name)
    files = {part: file for part in PARTS if (file := idx_file(path, part, optional=part in LABELS))}
    arrays = {part: read_idx(file) for part, file in files.items()}
    return Dataset.of(name, str(path), checked(arrays, {part: str(file) for part, file in files.items()}))


def idx_file(folder: Path, part: str, optional: bool = False) -> Path | None:
    """The file of a part in a folder; None where it may be missing and is; UserError where it must not."""
    with named(folder):
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder or .npz file")
        matches = sorted(file for file in folder.iterdir() if re.fullmatch(IDX_NAMES[part], file.name))
    if not matches and not optional:
        raise UserError(
            f"{folder}: has no file of {part.replace('_', ' ')}; names are like train-images-idx3-ubyte, t10k-… or ….gz"
        )
    return matches[0] if matches else None
