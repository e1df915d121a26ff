"""Files of images, read a chunk at a time: IDX (plain or .gz), .npy, or a folder of PNGs."""

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vae.data import idx
from vae.errors import UserError


@dataclass(frozen=True)
class Images:
    """`count` images `uint8` of `shape`, which `chunks(size)` yields in order, `size` at a time."""

    count: int
    shape: tuple[int, ...]
    chunks: Callable[[int], Iterator[np.ndarray]]


def open_images(path: str | Path) -> Images:
    """The images of a file or folder; its content is checked before memory is taken.

    Raises UserError where it is missing, empty, truncated, or of another type.
    """
    path = Path(path)
    if path.is_dir():
        return _pngs(path)
    if not path.exists():
        raise UserError(f"{path}: no such file")
    try:
        images = _npy(path) if path.suffix == ".npy" else _idx(path)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if not images.count * math.prod(images.shape):
        raise UserError(f"{path}: is empty")
    return images


def open_npy(path: Path) -> np.ndarray:
    """The array of an .npy, mapped and not read; UserError where the file is missing, unsound, or holds objects."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # damaged bytes make the parser of headers raise anything
        raise UserError(f"{path}: not a sound .npy of plain numbers ({error})") from None


def _npy(path: Path) -> Images:
    array = open_npy(path)
    if array.dtype != np.uint8 or array.ndim < 2:
        raise UserError(f"{path}: images are uint8 [N, ...], not {array.dtype} {list(array.shape)}")

    def chunks(size: int) -> Iterator[np.ndarray]:
        for start in range(0, len(array), size):
            yield np.array(array[start : start + size])  # read from the disk here, ahead of the encoder

    return Images(len(array), array.shape[1:], chunks)


def _idx(path: Path) -> Images:
    with idx.open_idx(path) as stream:
        lengths = idx.read_shape(stream, path)
        start = stream.tell()
    if len(lengths) < 2:
        raise UserError(f"{path}: {len(lengths)} dimensions, where images have two to four")
    count, *shape = lengths
    each = math.prod(shape)
    if not idx.is_packed(path) and (there := path.stat().st_size - start) != count * each:
        raise UserError(f"{path}: {[count, *shape]} takes {count * each} bytes, {there} are there")

    def chunks(size: int) -> Iterator[np.ndarray]:
        with idx.named(path), idx.open_idx(path) as stream:
            stream.seek(start)
            for first in range(0, count, size):
                wanted = min(size, count - first)
                raw = stream.read(wanted * each)
                if len(raw) < wanted * each:
                    raise UserError(
                        f"{path}: truncated: {count} images are promised, {first + len(raw) // each} are there"
                    )
                yield np.frombuffer(raw, np.uint8).reshape(wanted, *shape)

    return Images(count, tuple(shape), chunks)


def _pngs(folder: Path) -> Images:
    from PIL import Image

    files = sorted(folder.glob("*.png"))
    if not files:
        raise UserError(f"{folder}: has no .png files")

    def read(file: Path) -> np.ndarray:
        try:
            with Image.open(file, formats=["PNG"]) as image:
                pixels = np.asarray(image.convert("L" if image.mode in ("1", "L", "I;16", "LA") else "RGB"))
        except Exception as error:  # damaged bytes make Pillow raise anything, such as SyntaxError
            raise UserError(f"{file}: not a sound PNG ({error})") from None
        return pixels if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)

    shape = read(files[0]).shape

    def chunks(size: int) -> Iterator[np.ndarray]:
        for start in range(0, len(files), size):
            images = [read(file) for file in files[start : start + size]]
            for file, image in zip(files[start:], images):
                if image.shape != shape:
                    raise UserError(f"{file}: {list(image.shape)}, where {files[0].name} is {list(shape)}")
            yield np.stack(images)

    return Images(len(files), shape, chunks)
