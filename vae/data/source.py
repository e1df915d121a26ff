"""The dataset that a config asks for: one that is known by name, fetched and verified or generated, or the user's."""

import hashlib
import logging
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from vae.data.dataset import LABELS, PARTS, Dataset, binarise, pooled, split, validation_count
from vae.data.fetch import SOURCES
from vae.data.idx import open_idx, read_idx
from vae.data.known import KNOWN
from vae.data.readers import idx_file, read
from vae.data.sprites import SPRITES, TEST, TRAIN
from vae.errors import UserError
from vae.seeds import of_study

log = logging.getLogger(__name__)


def load(config: dict) -> Dataset:
    """The dataset that `config` (keys `name`, `path`, and maybe others of `dataset` in the config) asks for.

    Where it is to be binarised, that is done to validation and test images; training does it to the training images.
    Raises UserError where the dataset is not available or is unsound.
    """
    whole = _load(config["name"], config["path"])
    size = pooled_size(whole.image_shape, config)
    train, test = (pooled(images, size) for images in (whole.train_images, whole.test_images))
    dataset = split(replace(whole, train_images=train, test_images=test), config.get("validation_images"))
    if not config.get("binarise"):
        return dataset
    test = binarise(dataset.test_images, of_study("test_pixels"))
    validation = binarise(dataset.validation_images, of_study("validation_pixels"))
    return replace(dataset, test_images=test, validation_images=validation, binarised=True)


def extent(config: dict) -> tuple[tuple[int, ...], int]:
    """The shape of the training images that `config` asks for, `(N, H, W)` or `(N, C, H, W)`; how many test images.

    Nothing is fetched or generated; the user's own data is read.
    """
    extents = {name: (known.shape, known.test_images) for name, known in KNOWN.items()}
    extents |= {name: ((TRAIN, *sprites.image_shape), TEST) for name, sprites in SPRITES.items()}
    if config["name"] in extents:
        (total, *shape), test_images = extents[config["name"]]
        shape = [*shape[:-2], *pooled_size(tuple(shape), config)]
        return (total - validation_count(total, config.get("validation_images")), *shape), test_images
    dataset = load(config)
    return dataset.train_images.shape, len(dataset.test_images)


def pooled_size(shape: tuple[int, ...], config: dict) -> tuple[int, int]:
    """Height and width of images `(H, W)` or `(C, H, W)`, once blocks of pixels are averaged as a config asks for.

    Raises UserError where blocks do not cover the images, and for sprites, whose distribution would not be known.
    """
    side, (height, width) = config.get("pooling", 1), shape[-2:]
    if side > 1 and config["name"] in SPRITES:
        raise UserError("dataset.pooling: the distribution of sprites is known at the size that their name says")
    if height % side or width % side:
        raise UserError(f"dataset.pooling: blocks of {side}×{side} do not cover images of {height}×{width}")
    return height // side, width // side


def _load(name: str, path: str | None) -> Dataset:
    if name in SPRITES:
        if path:
            raise UserError(f"dataset.path: {path} is data of your own; set dataset.name to a name other than {name}")
        return Dataset.of(name, "generated", SPRITES[name].arrays())
    if name in KNOWN:
        if str(path).endswith(".npz"):
            raise UserError(f"dataset.path: {path} is data of your own; set dataset.name to a name other than {name}")
        return _load_known(name, path)
    if path is None:
        known = ", ".join([*KNOWN, *SPRITES])
        raise UserError(f"dataset.name: {name!r} is not known ({known} are); set dataset.path for data of your own")
    return read(path, name)


def _load_known(name: str, path: str | None) -> Dataset:
    sources: dict[str, Callable[[Path], Path]] = {f"folder {path}": lambda _: Path(path)} if path else {}
    tried = []
    for source, fetch in (sources | SOURCES[name]).items():
        with tempfile.TemporaryDirectory() as scratch:
            try:
                arrays = _read_verified(fetch(Path(scratch)), KNOWN[name].sha256)
            except Exception as error:  # whatever stops one source is no reason not to try the next
                tried.append(f"{source}: {_reason(error)}")
                log.warning("%s refused: %s", source, _reason(error))
                continue
        return Dataset.of(name, source, arrays)
    raise UserError(
        f"dataset {name} is not available; tried {'; '.join(tried)}. "
        "Put its four IDX files in a folder and set dataset.path to that folder"
    )


def _read_verified(folder: Path, sha256: tuple[str, ...]) -> dict[str, np.ndarray]:
    arrays = {}
    for part, wanted in zip(PARTS, sha256, strict=True):
        file = idx_file(folder, part)
        assert file  # only labels of the user's own data may be missing
        arrays[part] = read_idx(file)
        with open_idx(file) as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != wanted:
            raise UserError(f"{file.name} has SHA-256 {digest}, not {wanted}")
    return {part: array.astype(np.int64) if part in LABELS else array for part, array in arrays.items()}


def _reason(error: Exception) -> str:
    stderr = getattr(error, "stderr", None)
    text = stderr.strip().splitlines()[-1] if stderr and stderr.strip() else str(error)
    return " ".join(text.split()) or type(error).__name__
