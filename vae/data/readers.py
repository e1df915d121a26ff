"""Readers of the files of users: a folder of IDX files, a folder of pictures, or an .npz."""

import difflib
import logging
import os
import re
import zipfile
from collections.abc import Iterable, Sequence
from functools import partial
from math import prod
from pathlib import Path

import numpy as np

from vae.data import dataset, folders
from vae.data.dataset import FACTORS, LABELS, PARTS, Dataset, checked
from vae.data.idx import named, read_idx
from vae.errors import UserError
from vae.files import check_memory

log = logging.getLogger(__name__)

# The usual names of the four files, as distributed (`-idx3-`) and as often unpacked (`.idx3-`).
IDX_NAMES = {
    "train_images": r"train-images[-.]idx\d-ubyte(\.gz)?",
    "train_labels": r"train-labels[-.]idx1-ubyte(\.gz)?",
    "test_images": r"(t10k|test)-images[-.]idx\d-ubyte(\.gz)?",
    "test_labels": r"(t10k|test)-labels[-.]idx1-ubyte(\.gz)?",
}
LABEL_LIKE = r"label|target|class|annotation|(^|[^a-z])y([^a-z]|$)"
IDX_LIKE = rf"idx|ubyte|{LABEL_LIKE}"


def read(path: str | Path, name: str = "own", size: Sequence[int] | None = None, threads: int = 1) -> Dataset:
    """Read a folder of IDX files (plain or .gz), a folder of pictures, or an .npz with the arrays in `PARTS`.

    Labels may be missing; where some are there under a name that is not read, that is refused, and what else is not
    read is said in the log. Pictures are resized to `size`, a height and a width, if it is given. Raises UserError,
    naming the file, for one that is missing, truncated, of a wrong type, holds pickled objects, is larger than the
    memory that is free, or does not match the others.
    """
    path = Path(path)
    with named(path):
        if is_npz(path):
            return _read_npz(path, name)
        if folders.is_one(path):
            return _read_pictures(path, name, size, threads)
        return _read_idx(path, name)


def extent(path: str | Path, size: Sequence[int] | None = None) -> tuple[tuple[int, ...], int] | None:
    """The shape of the training images of a folder of pictures, by the first of them; and how many test images.

    None for data of another kind, which is read whole in less time. Raises UserError as `read` does.
    """
    path = Path(path)
    with named(path):
        if is_npz(path) or not folders.is_one(path):
            return None
        from vae.data import pictures  # Snakemake, which asks too, may run without Pillow

        found = folders.find(path)
        with pictures.no_bombs():
            first = pictures.read(found.files[0])
    return (found.train, *first.shape[:-2], *(size or first.shape[-2:])), found.test


def is_npz(path: str | Path) -> bool:
    """Whether a file is an .npz, by its name."""
    return str(path).lower().endswith(".npz")


def resized(images: np.ndarray, size: Sequence[int], threads: int = 1) -> np.ndarray:
    """Images `uint8 [N, ..., H, W]` in another height and width, as `pictures.resized` makes each of them."""
    height, width = size
    if images.shape[-2:] == (height, width):
        return images
    from vae.data import pictures

    made = _room((*images.shape[:-2], height, width))
    for place, image in enumerate(pictures.each(partial(pictures.resized, size=(height, width)), images, threads)):
        made[place] = image
    return made


def _read_npz(path: Path, name: str) -> Dataset:
    found = dataset.read(path, name)
    with zipfile.ZipFile(path) as archive:
        there = {member.removesuffix(".npy") for member in archive.namelist()}
    unread = sorted(there - {*PARTS, *FACTORS})
    for key in unread:
        if near := difflib.get_close_matches(key, {*PARTS, *FACTORS} - there, 1, 0.85):
            raise UserError(f"{path}: has an array {key!r}, which is not read; did you mean {near[0]!r}?")
    _say_unread(path, unread, found.train_labels is not None, "arrays train_labels and test_labels")
    return found


def _read_idx(folder: Path, name: str) -> Dataset:
    files = {part: there for part in PARTS if (there := idx_files(folder, part))}
    arrays = {part: _read_alike(there) for part, there in files.items()}
    taken = {file.name for there in files.values() for file in there}
    others = [entry for entry in os.listdir(folder) if entry not in taken and re.search(IDX_LIKE, entry, re.I)]
    called = "files named like train-labels-idx1-ubyte and t10k-labels-idx1-ubyte"
    _say_unread(folder, others, "train_labels" in arrays, called)
    return Dataset.of(name, str(folder), checked(arrays, {part: str(there[0]) for part, there in files.items()}))


def _read_alike(files: list[Path]) -> np.ndarray:
    """The array of IDX files that hold the same, such as a plain one and a packed one; UserError where they do not."""
    first, *others = map(read_idx, files)
    for file, other in zip(files[1:], others, strict=True):
        if not np.array_equal(first, other):
            raise UserError(f"{file}: differs from {files[0].name}, which lies beside it; take one of them away")
    return first


def idx_files(folder: Path, part: str) -> list[Path]:
    """The files of a part in a folder; none, where labels are missing; UserError where images are."""
    with named(folder):
        if not folder.is_dir():
            found = "is neither a folder nor an .npz" if folder.exists() else "no such folder or .npz file"
            raise UserError(f"{folder}: {found}")
        matches = sorted(file for file in folder.iterdir() if re.fullmatch(IDX_NAMES[part], file.name))
        if not matches and part not in LABELS:
            there = f"there are {folders.names(folder)}{_emnist(folder)}"
            raise UserError(
                f"{folder}: has no file of {part.replace('_', ' ')}, with a name like train-images-idx3-ubyte, t10k-…"
                f" or ….gz, and no folders train and test of pictures; {there}"
            )
    return matches


def _emnist(folder: Path) -> str:
    """The end of a message about a folder of EMNIST's files."""
    splits = sorted({found[1] for file in folder.iterdir() if (found := re.match(r"emnist-(\w+)-", file.name))})
    if not splits:
        return ""
    return (
        f"; EMNIST's images are published as their transpose, and come upright with dataset.name emnist_{splits[0]}"
        " and dataset.path a folder with the gzip.zip that they are from, or none"
    )


def _read_pictures(folder: Path, name: str, size: Sequence[int] | None, threads: int) -> Dataset:
    found = folders.find(folder)
    beside = [entry for entry in os.listdir(folder) if entry not in folders.SIDES and not entry.startswith(".")]
    unread = [*beside, *(str(file.relative_to(folder)) for file in found.unread)]
    _say_unread(folder, unread, found.labels is not None, "the names of folders in train and test")
    images = _stacked(found.files, size, threads)
    arrays = {"train_images": images[: found.train], "test_images": images[found.train :]}
    if found.labels is not None:
        labels = np.array(found.labels, np.int64)
        arrays |= {"train_labels": labels[: found.train], "test_labels": labels[found.train :]}
    return Dataset.of(name, str(folder), arrays, found.classes)


def _stacked(files: list[Path], size: Sequence[int] | None, threads: int) -> np.ndarray:
    """Pictures as one array, `uint8 [N, H, W]`, or `[N, 3, H, W]` where one or more of them are in colour."""
    from vae.data import pictures

    def image(file: Path) -> np.ndarray:
        pixels = pictures.read(file)
        return pictures.resized(pixels, (size[0], size[1])) if size else pixels

    made: np.ndarray | None = None
    with pictures.no_bombs():
        for place, pixels in enumerate(pictures.each(image, files, threads)):
            if made is None:
                made = _room((len(files), *pixels.shape))
            if pixels.shape[-2:] != made.shape[-2:]:
                found, first = ("×".join(map(str, shape[-2:])) for shape in (pixels.shape, made.shape))
                raise UserError(
                    f"{files[place]}: is {found}, where {files[0]} is {first}; dataset.resize makes them of one size"
                )
            if pixels.ndim > made.ndim - 1:  # the first in colour
                grey, made = made, _room((len(files), *pixels.shape))
                made[:place] = grey[:place, None]
            made[place] = pixels
    assert made is not None  # there are pictures, or `folders.find` had refused the folder
    return made


def _room(shape: tuple[int, ...]) -> np.ndarray:
    check_memory(prod(shape), f"an array of {'×'.join(map(str, shape))} bytes")
    return np.empty(shape, np.uint8)


def _say_unread(path: Path, unread: Iterable[str], has_labels: bool, labels: str) -> None:
    """Say in the log what lies in a file or folder and is not read; UserError where it looks like missing labels."""
    unread = sorted(unread)
    for name in unread:
        if not has_labels and re.search(LABEL_LIKE, name, re.I):
            raise UserError(f"{path}: {name} looks like labels, and is not read; labels are {labels}")
    if unread:
        log.warning("%s: not read: %s", path, ", ".join(unread[:5]) + (", …" if len(unread) > 5 else ""))
