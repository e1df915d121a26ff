"""Folders of pictures as torchvision's ImageFolder has them: which files are read, in which order, and as what class.

`train/<class>/…` and `test/<class>/…` have classes; `train` and `test` with pictures in them have none. Nothing here is
decoded, and neither NumPy nor Pillow is needed: Snakemake asks too.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vae.errors import UserError

SIDES = ("train", "test")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Pictures:
    """The pictures of a folder, training before test: so many `train`, and how many `test`.

    `labels`, one a picture, are places in `classes`, the sorted names of the classes' folders; both are None where
    there are no classes. `unread` are files that are no pictures by their names.
    """

    files: list[Path]
    train: int
    test: int
    classes: tuple[str, ...] | None
    labels: list[int] | None
    unread: list[Path]


def is_one(folder: Path) -> bool:
    """Whether a folder is one of pictures: it has a folder `train` or `test`."""
    return any(os.path.isdir(folder / side) for side in SIDES)


def find(folder: Path) -> Pictures:
    """The pictures of a folder; UserError where a side or a class has none, or one side has classes and not the other.

    Hidden files are not looked at. Folders within that of a class belong to it; links are followed.
    """
    by_class: dict[str, dict[str, list[Path]]] = {}
    unread: list[Path] = []
    for side in SIDES:
        if not os.path.isdir(folder / side):
            raise UserError(f"{folder}: has no folder {side}; there are {names(folder)}")
        by_class[side] = dict(_classes(folder / side, unread))
    train, test = by_class.values()
    if ("" in train) != ("" in test):
        without = folder / SIDES["" in test]
        raise UserError(f"{without}: has no folders of classes, and the other set has some; give both or neither")
    classes = None if "" in train else tuple(sorted(train | test))
    files = [file for each in (train, test) for name in sorted(each) for file in each[name]]
    labels = None
    if classes is not None:
        labels = [place for each in (train, test) for place, name in enumerate(classes) for _ in each.get(name, [])]
    count = sum(map(len, train.values()))
    return Pictures(files, count, len(files) - count, classes, labels, unread)


def state(folder: Path) -> str:
    """A digest of the names, sizes and times of all that lies in the folders `train` and `test`."""
    digest = hashlib.sha256()
    for side in SIDES:
        for file in _files(folder / side, onerror=None):  # the reader refuses what cannot be read
            digest.update(os.fsencode(file.relative_to(folder)) + b"\0")
            with suppress(OSError):
                facts = os.stat(file)
                digest.update(f"{facts.st_size} {facts.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def names(folder: Path, most: int = 4) -> str:
    """The names in a folder without hidden files, for a message."""
    there = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    more = f" and {len(there) - most} more" if len(there) > most else ""
    return ", ".join(there[:most]) + more if there else "no files"


def _classes(side: Path, unread: list[Path]) -> Iterator[tuple[str, list[Path]]]:
    """The pictures of a side by the name of their class, or all as of the class ""; others go to `unread`."""
    inside = [entry for entry in sorted(side.iterdir()) if not entry.name.startswith(".")]
    classes = [entry for entry in inside if entry.is_dir()]
    beside = _pictures([entry for entry in inside if not entry.is_dir()], unread)
    if classes and beside:
        raise UserError(f"{beside[0]}: lies beside the folders of classes, such as {classes[0].name}; move it into one")
    for place in classes or [side]:
        pictures = _pictures(_files(place), unread) if classes else beside
        if not pictures:
            raise UserError(f"{place}: has no pictures; their names end on {', '.join(SUFFIXES)}")
        yield place.name if classes else "", pictures


def _pictures(files: Iterator[Path] | list[Path], unread: list[Path]) -> list[Path]:
    pictures: list[Path] = []
    for file in files:
        (pictures if file.suffix.lower() in SUFFIXES else unread).append(file)
    return pictures


def _fail(error: OSError) -> None:
    raise UserError(f"{error.filename}: {error.strerror}")


def _files(folder: Path, onerror: Callable[[OSError], None] | None = _fail) -> Iterator[Path]:
    """All files below a folder, sorted, but hidden ones; a folder that a link leads back to is entered once."""
    entered = set()
    for place, folders, files in os.walk(folder, onerror=onerror, followlinks=True):
        if (real := os.path.realpath(place)) in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(files) if not name.startswith("."))
