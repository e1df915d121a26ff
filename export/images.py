"""Images as an encoder takes them: arrays, pictures, and files that are read a chunk at a time.

An encoder takes `uint8 [N, H, W]` or `[N, C, H, W]`, from 0 to 255. What says the same in another layout is taken too;
anything else is refused in a line that says how to convert it: docs/reference/encoding.md lists both.
"""

import logging
import math
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vae.data import idx
from vae.errors import UserError, lacking

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

log = logging.getLogger(__name__)

CONVERSIONS = {
    "float": "; multiply floats from 0 to 1 by 255, round them, and convert them to uint8",
    "bool": "; convert them to uint8, and multiply by 255",
    "int": "; convert them to uint8, 16-bit grey levels after >> 8",
}
# By whose endings pictures in a folder are known.
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Images:
    """`count` images `uint8`, which `chunks(size)` yields in order, `size` at a time.

    `files` are the names of pictures, one for each image; None where one file has all images.
    """

    count: int
    chunks: Callable[[int], Iterator[np.ndarray]]
    files: list[str] | None = None


def misfit(kind: str, sizes: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """Why an encoder of images of `shape` cannot take an array of a type and sizes, and what to do; or nothing.

    One channel may have an axis of its own or none, in the array and in the encoder, and images may be flat.
    """
    if kind != "uint8":
        advice = next((advice for name, advice in CONVERSIONS.items() if name in kind), "")
        return f"images are uint8 from 0 to 255, as they are, not {kind}{advice}"
    alike = _alike(shape)
    if sizes[1:] in alike:
        return ""
    advice = ""
    if sizes in alike:
        advice = f"; a single image is {[1, *sizes]}"
    elif sizes[1:] == (*shape[1:], shape[0]):
        advice = "; they look channel-last: np.moveaxis(images, -1, 1) makes them [N, C, H, W]"
    elif _channels(shape) == 1 and len(sizes) == 4:
        advice = "; the encoder takes one channel"
    return f"images are [N, {', '.join(map(str, shape))}], not {list(sizes)}{advice}"


def _channels(shape: tuple[int, ...]) -> int:
    return shape[0] if len(shape) == 3 else 1


def _alike(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The shapes of an image that have the same pixels in the same order."""
    plane = shape[-2:]
    one_channel = [plane, (1, *plane), (*plane, 1)] if _channels(shape) == 1 else []
    return [shape, (math.prod(shape),), *one_channel]


def fitting(images: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Images as contiguous `uint8 [N, *shape]`: of an array, a tensor on any device, or a list of them or of pictures.

    Raises UserError where they do not fit; see `misfit`, and `pixels` for pictures.
    """
    if hasattr(images, "detach"):  # a tensor, some of whose types NumPy does not have
        kind, sizes = str(images.dtype).removeprefix("torch."), tuple(images.shape)
    else:
        images = _array(images, shape)
        kind, sizes = images.dtype.name, images.shape
    if fault := misfit(kind, sizes, shape):
        raise UserError(fault)
    array = images if isinstance(images, np.ndarray) else images.detach().cpu().numpy()
    return np.ascontiguousarray(array).reshape(-1, *shape)


def _array(images: Any, shape: tuple[int, ...]) -> np.ndarray:
    if _is_picture(images):
        raise UserError("images are one picture: give a list of pictures")
    if isinstance(images, list | tuple) and any(map(_is_picture, images)):
        return np.stack([_named(f"images[{i}]", pixels, image, shape) for i, image in enumerate(images)])
    try:
        return np.asarray(images)
    except (TypeError, ValueError) as error:  # such as arrays of several sizes
        raise UserError(f"images are no array: {error}") from None


def _is_picture(image: Any) -> bool:
    return hasattr(image, "getbands")  # Pillow's; it is not imported for this


def _named(name: str | Path, read: Callable[..., np.ndarray], *given: Any) -> np.ndarray:
    try:
        return read(*given)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def pixels(picture: "Picture", shape: tuple[int, ...]) -> np.ndarray:
    """The pixels of one of Pillow's images, `uint8` of `shape`, as `vae.data.pictures` has them.

    Colours that are all grey stand for grey levels, or the other way round. Raises UserError for a picture of another
    size, or with colours where the encoder takes grey levels.
    """
    if not _is_picture(picture):
        raise UserError("is no picture, as others of the list are")
    from vae.data import pictures

    try:
        return _of_shape(pictures.as_array(picture), shape)
    except ValueError as error:
        raise UserError(str(error)) from None


def _of_shape(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A picture, `uint8 [H, W]` or `[3, H, W]`, as an image of `shape`."""
    if _channels(shape) not in (1, 3):
        raise UserError(f"is a picture, the encoder takes {list(shape)}; give arrays")
    if image.shape[-2:] != shape[-2:]:
        raise UserError(f"is {list(image.shape[-2:])}, the encoder takes {list(shape)}")
    if _channels(shape) == 3:
        return np.broadcast_to(image, shape)
    if image.ndim == 3:
        raise UserError(f"is in colour, the encoder takes grey levels {list(shape)}; convert it to grey")
    return image.reshape(shape)


def open_images(path: str | Path, shape: tuple[int, ...]) -> Images:
    """The images of a file or folder for an encoder of `shape`; its content is checked before memory is taken.

    Raises UserError where it is missing, empty, truncated, or does not fit.
    """
    path = Path(path)
    if path.is_dir():
        return _pictures(_in(path), shape)
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if path.suffix.lower() in PICTURES:
        return _pictures([path], shape)
    if path.suffix.lower() == ".npz":
        raise UserError(f"{path}: images are read from .npy, IDX (plain or .gz) or pictures")
    try:
        return _npy(path, shape) if path.suffix.lower() == ".npy" else _idx(path, shape)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def open_npy(path: Path) -> np.ndarray:
    """The array of an .npy, mapped and not read; UserError where the file is missing, unsound, or holds objects."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # damaged bytes make the parser of headers raise anything
        raise UserError(f"{path}: not a sound .npy of plain numbers ({error})") from None


def _check(path: Path, kind: str, sizes: tuple[int, ...], shape: tuple[int, ...]) -> None:
    if not math.prod(sizes):
        raise UserError(f"{path}: is empty")
    if fault := misfit(kind, sizes, shape):
        raise UserError(f"{path}: {fault}")


def _npy(path: Path, shape: tuple[int, ...]) -> Images:
    array = open_npy(path)
    _check(path, array.dtype.name, array.shape, shape)

    def chunks(size: int) -> Iterator[np.ndarray]:
        for start in range(0, len(array), size):
            yield np.array(array[start : start + size])  # read from the disk here, ahead of the encoder

    return Images(len(array), chunks)


def _idx(path: Path, shape: tuple[int, ...]) -> Images:
    with idx.open_idx(path) as stream:
        sizes = idx.read_shape(stream, path)
        start = stream.tell()
    if len(sizes) < 2:
        raise UserError(f"{path}: {len(sizes)} dimensions, where images have two to four")
    count, each = sizes[0], math.prod(sizes[1:])
    if not idx.is_packed(path) and (there := path.stat().st_size - start) != count * each:
        raise UserError(f"{path}: {list(sizes)} takes {count * each} bytes, {there} are there")
    _check(path, "uint8", sizes, shape)

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
                yield np.frombuffer(raw, np.uint8).reshape(wanted, *sizes[1:])

    return Images(count, chunks)


def _in(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their names; hidden files, such as `._1.png`, are none."""
    visible = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    files = [file for file in visible if file.suffix.lower() in PICTURES and not file.is_dir()]
    if not files:
        folders = "; those of its folders are not read, give one of them" if any(map(Path.is_dir, visible)) else ""
        raise UserError(f"{folder}: has no pictures (*.png, *.jpg, …){folders}")
    by_number = sorted(files, key=lambda file: [int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", file.name)])
    if pair := next(((a.name, b.name) for a, b in zip(files, by_number) if a != b), None):
        log.warning("%s: rows are in the order of names as text: %s comes before %s", folder, *pair)
    return files


def _pictures(files: Sequence[Path], shape: tuple[int, ...]) -> Images:
    try:
        from vae.data import pictures
    except ModuleNotFoundError as error:
        raise UserError(lacking(f"{files[0]}: reading pictures", error, "view")) from None

    def chunks(size: int) -> Iterator[np.ndarray]:
        for start in range(0, len(files), size):
            with pictures.no_bombs():
                images = [(file, pictures.read(file)) for file in files[start : start + size]]
            yield np.stack([_named(file, _of_shape, image, shape) for file, image in images])

    return Images(len(files), chunks, [file.name for file in files])
