"""Pictures, as Pillow reads them, as `uint8` images; and images in another size."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

from vae.errors import UserError

# What `read` reads, whatever a file's name says. All are rasters: none runs a program, as EPS does.
FORMATS = ("PNG", "JPEG", "BMP", "PPM", "TIFF", "WEBP")
# Pictures that are decoded before the first of them is taken; bounds the memory.
AHEAD = 64
T = TypeVar("T")


def as_array(picture: Image.Image) -> np.ndarray:
    """The pixels of a picture: `uint8 [H, W]` where all are grey, whatever it was saved as, and else `[3, H, W]`.

    Levels of 16 bits become `value >> 8`; a palette becomes its colours; what is transparent is laid on black. Raises
    ValueError for levels of 32 bits, whose range is not known, and for a picture whose ink is in its transparency
    alone, of which black would leave nothing.
    """
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM")):
        levels = np.asarray(picture)
        return (levels >> 8).astype(np.uint8) * (levels != picture.info.get("transparency", -1))
    if picture.mode in ("I", "F"):
        raise ValueError("has levels of 32 bits, whose range is not known; save it with 8 or 16")
    if picture.has_transparency_data:
        picture = _on_black(picture.convert("RGBA"))
    if picture.mode in ("1", "L"):
        return np.asarray(picture.convert("L"))
    pixels = np.asarray(picture.convert("RGB"))
    if (pixels == pixels[..., :1]).all():
        return np.ascontiguousarray(pixels[..., 0])
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))


def _on_black(picture: Image.Image) -> Image.Image:
    laid = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture)
    clear, opaque = picture.getchannel("A").getextrema()
    if clear != opaque and all(band.getextrema()[0] == band.getextrema()[1] for band in laid.split()):
        raise ValueError("is all of one colour on black: its ink is in its transparency; save it on a ground")
    return laid


def read(file: Path) -> np.ndarray:
    """The pixels of a file, turned as its EXIF says; UserError, naming it, where it is no sound picture, or several."""
    try:
        with Image.open(file, formats=FORMATS) as picture:
            # A camera's MPO has small copies of the picture beside it.
            if picture.format != "MPO" and (frames := getattr(picture, "n_frames", 1)) > 1:
                raise ValueError(f"has {frames} frames, where a picture is expected")
            ImageOps.exif_transpose(picture, in_place=True)
            return as_array(picture)
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or 'not a sound picture: ' + _without(str(error), file)}") from None
    except Exception as error:  # damaged bytes make Pillow raise anything, such as SyntaxError
        raise UserError(f"{file}: {error}") from None


def _without(message: str, file: Path) -> str:
    """Pillow's error message without the name of the file."""
    return message.replace(f" {str(file)!r}", "")


@contextmanager
def no_bombs() -> Iterator[None]:
    """Have `read` refuse pictures of more pixels than Pillow warns of, which a small file can unpack to."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image `uint8 [..., H, W]` in another height and width.

    It is scaled until it covers them, its aspect ratio kept, by Pillow's bilinear filter, which has antialiasing, and
    what then protrudes is cropped on both sides alike: torchvision's Resize and CenterCrop in one.
    """
    if image.shape[-2:] == tuple(size):
        return image
    planes = image.reshape(-1, *image.shape[-2:])
    fitted = [ImageOps.fit(Image.fromarray(plane), (size[1], size[0]), Image.Resampling.BILINEAR) for plane in planes]
    return np.stack([np.asarray(plane) for plane in fitted]).reshape(*image.shape[:-2], *size)


def each(make: Callable[[T], np.ndarray], sources: Sequence[T] | np.ndarray, threads: int) -> Iterator[np.ndarray]:
    """The results for all sources, in order, by several threads, with a progress bar; a few are computed ahead."""
    from tqdm import tqdm

    with ThreadPoolExecutor(threads) as pool, tqdm(total=len(sources), unit=" images", disable=None) as bar:
        for start in range(0, len(sources), AHEAD):
            for image in pool.map(make, sources[start : start + AHEAD]):
                yield image
                bar.update()
