"""The dataset that a config asks for: one that is known by name, fetched and verified or generated, or the user's."""

import logging
from dataclasses import replace

from vae.data import plausible, readers, verified
from vae.data.dataset import Dataset, binarise, pooled, split, validation_count
from vae.data.known import KNOWN
from vae.data.published import DIGITS, PUBLISHED, digits
from vae.data.sprites import SPRITES, TEST, TRAIN
from vae.errors import UserError
from vae.seeds import of_study

log = logging.getLogger(__name__)


def load(config: dict, threads: int = 1) -> Dataset:
    """The dataset that `config` (keys `name`, `path`, and maybe others of `dataset` in the config) asks for.

    Where it is to be binarised, that is done to validation and test images; training does it to the training images.
    Raises UserError where the dataset is not available or is unsound.
    """
    whole = _load(config, threads)
    size, blocks = _sizes(whole.image_shape, config)
    train, test = (
        pooled(readers.resized(images, size, threads), blocks) for images in (whole.train_images, whole.test_images)
    )
    dataset = split(replace(whole, train_images=train, test_images=test), config.get("validation_images"))
    if not config.get("binarise"):
        return dataset
    test = binarise(dataset.test_images, of_study("test_pixels"))
    validation = binarise(dataset.validation_images, of_study("validation_pixels"))
    return replace(dataset, test_images=test, validation_images=validation, binarised=True)


def extent(config: dict) -> tuple[tuple[int, ...], int]:
    """The shape of the training images that `config` asks for, `(N, H, W)` or `(N, C, H, W)`; how many test images.

    Nothing is fetched or generated, and of a folder of pictures the first alone is read; other data of the user's own
    is read.
    """
    name, path = config["name"], config["path"]
    known = _known().get(name)
    found = known or (readers.extent(path, resize(config)) if path else None)
    if not found:
        whole = _load(config, 1)
        found = whole.train_images.shape, len(whole.test_images)
    (total, *shape), test_images = found
    _, size = _sizes(tuple(shape), config)
    train = total - validation_count(total, config.get("validation_images"))
    if known and path:
        verified.check_given(name, path)
    return (train, *shape[:-2], *size), test_images


def resize(config: dict) -> tuple[int, int] | None:
    """The height and width that images are resized to; None where they are taken as they are."""
    size = config.get("resize")
    if not size:
        return None
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _sizes(shape: tuple[int, ...], config: dict) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width of images `(H, W)` or `(C, H, W)` once they are resized, and once blocks of pixels are averaged.

    Raises UserError where blocks do not cover the images, and for sprites, whose distribution would not be known.
    """
    side, size = config.get("pooling", 1), resize(config)
    for key, changes in (("pooling", side > 1), ("resize", size)):
        if changes and config["name"] in SPRITES:
            raise UserError(f"dataset.{key}: the distribution of sprites is known at the size that their name says")
    height, width = size or (shape[-2], shape[-1])
    if height % side or width % side:
        raise UserError(f"dataset.pooling: blocks of {side}×{side} do not cover images of {height}×{width}")
    return (height, width), (height // side, width // side)


def _known() -> dict[str, tuple[tuple[int, ...], int]]:
    """Of every dataset that is known by name: the shape of the training images, and how many test images there are."""
    of_files = {name: (known.shape, known.test_images) for name, known in (KNOWN | PUBLISHED).items()}
    return of_files | {name: ((TRAIN, *kind.image_shape), TEST) for name, kind in SPRITES.items()} | {"digits": DIGITS}


def _load(config: dict, threads: int) -> Dataset:
    name, path = config["name"], config["path"]
    if name in _known():
        return verified.given(name, path) if path else _generated(name) or verified.fetched(name)
    if path is None:
        known = ", ".join(_known())
        raise UserError(f"dataset.name: {name!r} is not known ({known} are); set dataset.path for data of your own")
    dataset = readers.read(path, name, resize(config), threads)
    for remark in plausible.review(dataset):
        log.warning("%s", remark)
    return dataset


def _generated(name: str) -> Dataset | None:
    if name in SPRITES:
        return Dataset.of(name, "generated", SPRITES[name].arrays())
    return Dataset.of(name, "scikit-learn", digits()) if name == "digits" else None
