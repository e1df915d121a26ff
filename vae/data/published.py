"""Datasets that are read from files as they were published, where torchvision knows them; and one that is at hand.

torchvision says where the files are, and their MD5; EMNIST's images, which are published as their transpose, are turned
upright.
"""

import gzip
import hashlib
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae.data.idx import parse_idx, read_idx
from vae.errors import UserError

Arrays = dict[str, np.ndarray]


class File(NamedTuple):
    """A file as it was published."""

    name: str
    url: str
    md5: str


@dataclass(frozen=True)
class Published:
    """A dataset in files of these `names`, with training images of this shape, `(N, H, W)` or `(N, C, H, W)`.

    `listed` are its files as torchvision's `kind` lists them, which takes seconds to import; `arrays` reads them from a
    folder, by the names in `PARTS`, with a scratch folder to unpack them in.
    """

    kind: str
    names: tuple[str, ...]
    shape: tuple[int, ...]
    test_images: int
    listed: Callable[[Any], list[File]]
    arrays: Callable[[Path, Path], Arrays]

    @property
    def files(self) -> list[File]:
        """Where its files are, and their MD5."""
        return self.listed(_torchvision(self.kind))

    def check_there(self, folder: Path) -> None:
        """Raise UserError where a file is missing in a folder."""
        for name in self.names:
            if not (folder / name).is_file():
                raise UserError(f"{folder / name}: no such file; it takes {', '.join(self.names)}, as published")

    def read(self, folder: Path, scratch: Path) -> Arrays:
        """The arrays in a folder of its files; UserError where one is missing, or is not what was published."""
        self.check_there(folder)
        for name, _, wanted in self.files:
            with open(folder / name, "rb") as stream:
                md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            if md5 != wanted:
                raise UserError(f"{folder / name} has MD5 {md5}, not {wanted}")
        return self.arrays(folder, scratch)


def _torchvision(kind: str) -> Any:
    from torchvision import datasets

    return getattr(datasets, kind)


def _of_mirror(of: Any) -> list[File]:
    return [File(name, of.mirrors[0] + name, md5) for name, md5 in of.resources]


def _of_sides(of: Any) -> list[File]:
    return [File(url.rpartition("/")[2], url, md5) for side in ("train", "test") for url, md5 in of.resources[side]]


def _of_splits(of: Any) -> list[File]:
    return [File(name, url, md5) for url, name, md5 in (of.split_list[side] for side in ("train", "test"))]


def _of_archive(of: Any) -> list[File]:
    return [File(of.filename, of.url, of.tgz_md5)]


def _of_emnist(of: Any) -> list[File]:
    return [File(EMNIST[0], of.url, of.md5)]


def _kmnist(folder: Path, scratch: Path) -> Arrays:
    return _arrays(*(read_idx(folder / name) for name in IDX))


def _emnist(split: str, folder: Path, scratch: Path) -> Arrays:
    arrays = []
    with zipfile.ZipFile(folder / EMNIST[0]) as archive:
        for name in IDX:
            member = f"gzip/emnist-{split}-{name.replace('t10k', 'test')}"
            with archive.open(member) as packed, gzip.open(packed) as stream:
                arrays.append(parse_idx(stream, MOST_UNPACKED, member))
    train, train_labels, test, test_labels = arrays
    return _arrays(train.transpose(0, 2, 1), train_labels, test.transpose(0, 2, 1), test_labels)


def _qmnist(folder: Path, scratch: Path) -> Arrays:
    _link(folder, QMNIST, scratch / "QMNIST/raw")
    train, test = (_torchvision("QMNIST")(scratch, train=side, download=True) for side in (True, False))
    # Of eight numbers that an image has, the first is its class.
    return _arrays(train.data, train.targets[:, 0], test.data, test.targets[:, 0])


def _usps(folder: Path, scratch: Path) -> Arrays:
    train, test = (_torchvision("USPS")(folder, train=side) for side in (True, False))
    return _arrays(train.data, train.targets, test.data, test.targets)


def _cifar10(folder: Path, scratch: Path) -> Arrays:
    _link(folder, CIFAR10, scratch)
    with warnings.catch_warnings():
        # The pickles are of a NumPy that has long gone; torchvision checks the MD5 of each before it loads one.
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        train, test = (_torchvision("CIFAR10")(scratch, train=side, download=True) for side in (True, False))
    return _arrays(np.moveaxis(train.data, -1, 1), train.targets, np.moveaxis(test.data, -1, 1), test.targets)


def _svhn(folder: Path, scratch: Path) -> Arrays:
    train, test = (_torchvision("SVHN")(folder, split=side) for side in ("train", "test"))
    return _arrays(train.data, train.labels, test.data, test.labels)


def _link(folder: Path, names: tuple[str, ...], scratch: Path) -> None:
    """Have files stand where torchvision unpacks them, which it does without fetching them."""
    scratch.mkdir(parents=True, exist_ok=True)
    for name in names:
        (scratch / name).symlink_to((folder / name).absolute())


def _arrays(train: Any, train_labels: Any, test: Any, test_labels: Any) -> Arrays:
    return {
        "train_images": np.ascontiguousarray(train),
        "train_labels": np.asarray(train_labels, np.int64),
        "test_images": np.ascontiguousarray(test),
        "test_labels": np.asarray(test_labels, np.int64),
    }


def class_names(name: str) -> tuple[str, ...] | None:
    """The names of the classes from 0 on, where a dataset that is known by name has others than digits.

    They are torchvision's; those of CIFAR-10, which it has in no attribute, are of Krizhevsky, Learning multiple layers
    of features from tiny images, 2009.
    """
    kind, _, split = name.partition("_")
    if kind == "emnist":
        return tuple(_torchvision("EMNIST").classes_split_dict[split])
    if name in NAMED:
        return tuple(_torchvision(NAMED[name]).classes)
    return CIFAR10_CLASSES if name == "cifar10" else None


def digits() -> Arrays:
    """The digits that scikit-learn ships, 8×8 of 0 to 16, which become 0 to 255.

    The first 1,500 are to train on, and the last 297, mostly by other writers, to test.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    images, train = np.rint(found.images * (255 / 16)).astype(np.uint8), DIGITS[0][0]
    return _arrays(images[:train], found.target[:train], images[train:], found.target[train:])


# The shape of its training images, and how many test images it has.
DIGITS = (1_500, 8, 8), 297
IDX = tuple(f"{side}-{kind}-ubyte.gz" for side in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
QMNIST = tuple(
    f"qmnist-{side}-{kind}.gz" for side in ("train", "test") for kind in ("images-idx3-ubyte", "labels-idx2-int")
)
EMNIST, CIFAR10 = ("gzip.zip",), ("cifar-10-python.tar.gz",)
NAMED = {"fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MOST_UNPACKED = 2**30  # bytes that a member of EMNIST's archive unpacks to
EMNIST_SPLITS = {
    "balanced": (112_800, 18_800),
    "byclass": (697_932, 116_323),
    "bymerge": (697_932, 116_323),
    "digits": (240_000, 40_000),
    "letters": (124_800, 20_800),
    "mnist": (60_000, 10_000),
}
PUBLISHED = {
    "kmnist": Published("KMNIST", IDX, (60_000, 28, 28), 10_000, _of_mirror, _kmnist),
    "qmnist": Published("QMNIST", QMNIST, (60_000, 28, 28), 60_000, _of_sides, _qmnist),
    "usps": Published("USPS", ("usps.bz2", "usps.t.bz2"), (7_291, 16, 16), 2_007, _of_splits, _usps),
    "cifar10": Published("CIFAR10", CIFAR10, (50_000, 3, 32, 32), 10_000, _of_archive, _cifar10),
    "svhn": Published("SVHN", ("train_32x32.mat", "test_32x32.mat"), (73_257, 3, 32, 32), 26_032, _of_splits, _svhn),
}
PUBLISHED |= {
    f"emnist_{split}": Published("EMNIST", EMNIST, (train, 28, 28), test, _of_emnist, partial(_emnist, split))
    for split, (train, test) in EMNIST_SPLITS.items()
}
