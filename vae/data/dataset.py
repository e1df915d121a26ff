"""The one dataset that a study reads: images and labels, checked.

Images are `uint8 [N, H, W]` or `[N, C, H, W]`; labels, where there are any, are `int64 [N]`, and factors, what an image
was made of, `int64 [N, factors]`. Models are trained on the
training set; what is chosen is chosen on the validation set, which is drawn from the file of training images, and what
is reported is measured on the test set.
"""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vae.data import convert
from vae.data.amounts import check_training
from vae.data.sprites import SPRITES
from vae.errors import UserError
from vae.files import check_memory, read_json, read_npz, write_json, write_npz
from vae.seeds import draw, of_study

IMAGES, LABELS = ("train_images", "test_images"), ("train_labels", "test_labels")
PARTS = ("train_images", "train_labels", "test_images", "test_labels")
FACTORS = ("train_factors", "test_factors")
VALIDATION = ("validation_images", "validation_labels", "validation_factors")
# Where a config does not say how many images are for validation, one in so many is.
ONE_IN = 12


@dataclass(frozen=True)
class Dataset:
    """Images and labels of a training, a validation and a test set; in what is read of a user the second is empty.

    Images are `uint8 [N, H, W]` or `[N, C, H, W]`; labels are `int64 [N]`, or None in all; factors are
    `int64 [N, factors]`, or None in all. Where `binarised` is true,
    validation and test images are black and white, and training images are still grey. `class_names` are those of the
    labels from 0 on, where they have names.
    """

    name: str
    source: str
    train_images: np.ndarray
    test_images: np.ndarray
    train_labels: np.ndarray | None = None
    test_labels: np.ndarray | None = None
    validation_images: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8))
    validation_labels: np.ndarray | None = None
    train_factors: np.ndarray | None = None
    test_factors: np.ndarray | None = None
    validation_factors: np.ndarray | None = None
    binarised: bool = False
    class_names: tuple[str, ...] | None = None

    @classmethod
    def of(
        cls, name: str, source: str, arrays: dict[str, np.ndarray], class_names: tuple[str, ...] | None = None
    ) -> "Dataset":
        """A dataset of arrays by the names in `PARTS` and `FACTORS`; labels and factors may be missing."""
        optional: dict[str, Any] = {part: arrays.get(part) for part in LABELS + FACTORS}
        return cls(name, source, arrays["train_images"], arrays["test_images"], **optional, class_names=class_names)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """`(H, W)` or `(C, H, W)`."""
        return self.train_images.shape[1:]

    def class_name(self, label: int) -> str:
        """The name of a label if labels have names, and else its number."""
        return self.class_names[label] if self.class_names else str(label)

    @property
    def factor_names(self) -> list[str]:
        """The names of the factors if they are known, and else their numbers from 1."""
        if self.test_factors is None:
            return []
        count = self.test_factors.shape[1]
        return list(SPRITES[self.name].factors) if self.name in SPRITES else [f"factor{i + 1}" for i in range(count)]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that exist, by the names in `PARTS`, `VALIDATION` and `FACTORS`."""
        arrays = {part: getattr(self, part) for part in PARTS + VALIDATION + FACTORS}
        return {part: array for part, array in arrays.items() if array is not None and len(array)}

    def seen_in_training(self, chosen: np.ndarray | None = None) -> np.ndarray:
        """Training images (of these indices) as models see them; where they are binarised, one draw of them."""
        images = self.train_images if chosen is None else self.train_images[chosen]
        return binarise(images, of_study("training_pixels")) if self.binarised else images

    @property
    def sha256(self) -> str:
        """Hash of the shapes and bytes of every array."""
        digest = hashlib.sha256()
        for part, array in self.arrays.items():
            digest.update(f"{part}{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def binarise(images: np.ndarray, seed: int) -> np.ndarray:
    """Images `uint8` with every pixel white, 255, with its grey level as the probability, and black otherwise.

    The draw is that of `seed`; that of training, anew in every epoch, is `vae.training.loop.Run.images`.
    """
    # A pixel of grey level g exceeds g of 255 equally likely thresholds.
    return (images > np.random.default_rng(seed).integers(255, size=images.shape, dtype=np.uint8)) * np.uint8(255)


def pooled(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Images `uint8 [..., H, W]` in a height and width that divide theirs: the rounded means of blocks of pixels."""
    *rest, height, width = images.shape
    high, wide = height // size[0], width // size[1]
    if high * wide == 1:
        return images
    totals = images.reshape(*rest, size[0], high, size[1], wide).sum((-3, -1), dtype=np.uint32)
    return ((totals + high * wide // 2) // (high * wide)).astype(np.uint8)


def split(dataset: Dataset, count: int | None) -> Dataset:
    """The dataset with `count` of its training images, the same for every study, as its validation set.

    If `count` is None, it is one image in `ONE_IN`. Raises UserError where no training image would be left.
    """
    total = len(dataset.train_images)
    chosen = np.zeros(total, bool)
    chosen[np.random.default_rng(of_study("validation")).permutation(total)[: validation_count(total, count)]] = True
    parts: dict[str, Any] = {}
    for name in ("images", "labels", "factors"):
        if (array := getattr(dataset, f"train_{name}")) is not None:
            parts |= {f"train_{name}": array[~chosen], f"validation_{name}": array[chosen]}
    return replace(dataset, **parts)


def validation_count(total: int, count: int | None) -> int:
    """How many of `total` training images are for validation; UserError where none would be left."""
    if count is None:
        count = max(1, total // ONE_IN)
    if count >= total:
        raise UserError(
            f"dataset.validation_images: {count} are asked for, and {total} training images are there to draw them from"
        )
    return count


def subset(images: np.ndarray, count: int | None) -> np.ndarray:
    """`count` of the images, in their order and the same for every model.

    Raises UserError where there are not that many.
    """
    if count is None:
        return images
    check_training(count, len(images))
    return images[np.sort(draw(len(images), count))]


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
            "validation_images": len(dataset.validation_images),
            "test_images": len(dataset.test_images),
            "classes": None if labels is None else len(np.unique(labels)),
            "class_names": dataset.class_names,
            "factors": 0 if dataset.test_factors is None else dataset.test_factors.shape[1],
            "binarised": dataset.binarised,
            "sha256": dataset.sha256,
        },
    )


def load(path: str | Path) -> Dataset:
    """Load a dataset that `save` wrote; UserError if it is missing or damaged."""
    facts = read_json(Path(path).with_suffix(".json"))
    arrays: dict[str, Any] = read_npz(path, VALIDATION[0], optional=VALIDATION[1:])
    class_names = tuple(facts["class_names"]) if facts.get("class_names") else None
    known = {"source": facts["source"], "binarised": facts["binarised"], "class_names": class_names}
    return replace(read(path, facts["name"]), **arrays, **known)


def read(path: str | Path, name: str = "own") -> Dataset:
    """Read an .npz with the arrays in `PARTS` and `FACTORS`; labels and factors may be missing.

    Raises UserError, naming the file, for one that is missing, truncated, of a wrong type, holds pickled objects, is
    larger than the memory that is free, or whose arrays do not match each other.
    """
    arrays = read_npz(path, *IMAGES, optional=LABELS + FACTORS)
    return Dataset.of(name, str(path), checked(arrays, {part: f"{path}[{part}]" for part in arrays}))


def checked(arrays: dict[str, np.ndarray], files: dict[str, str]) -> dict[str, np.ndarray]:
    """The arrays of a dataset, labels and factors as `int64`; UserError, naming the file, where one is unsound."""
    for part, array in arrays.items():
        if array.size == 0:
            raise UserError(f"{files[part]}: is empty (shape {list(array.shape)})")
        arrays[part] = checked_part(part, array, files[part])
    shapes = {side: list(arrays[f"{side}_images"].shape[1:]) for side in ("train", "test")}
    if shapes["test"] != shapes["train"]:
        raise UserError(
            f"{files['test_images']}: test images are {shapes['test']}, training images are {shapes['train']}"
        )
    for kind in ("labels", "factors"):
        _check_beside_images(arrays, files, kind)
    return arrays


def checked_part(part: str, array: np.ndarray, file: str) -> np.ndarray:
    """The images, labels or factors of a file; UserError, with what to convert them with, where they are none."""
    found = f"not {array.dtype} {list(array.shape)}"
    if part.endswith("images"):
        if array.dtype != np.uint8 or array.ndim not in (3, 4):
            raise UserError(f"{file}: images are uint8 [N, H, W] or [N, C, H, W], {found}{convert.to_images(array)}")
        if convert.is_channel_last(array):
            raise UserError(
                f"{file}: looks channel-last, {list(array.shape)}; images are [N, C, H, W]: np.moveaxis({part}, -1, 1)"
            )
        check_memory(0 if array.flags.c_contiguous else array.nbytes, file)
        return np.ascontiguousarray(array)
    factors = part.endswith("factors")
    if array.ndim != 1 + factors or array.dtype.kind not in "iu":
        wanted = "factors are integers [N, factors]" if factors else "labels are integers [N]"
        raise UserError(f"{file}: {wanted}, {found}{'' if factors else convert.to_labels(array)}")
    if array.dtype == np.uint64 and array.max() > np.iinfo(np.int64).max:
        raise UserError(f"{file}: {array.max()} is more than 2^63 - 1, the largest label that is taken")
    check_memory(8 * array.size, file)
    return array.astype(np.int64)


def _check_beside_images(arrays: dict[str, np.ndarray], files: dict[str, str], kind: str) -> None:
    """UserError where one side has labels, or factors, and the other has none, or others, or not one for each image."""
    given = {side: arrays[f"{side}_{kind}"] for side in ("train", "test") if f"{side}_{kind}" in arrays}
    for side, values in given.items():
        file, images = files[f"{side}_{kind}"], arrays[f"{side}_images"]
        if len(given) == 1:
            missing = "test" if side == "train" else "train"
            raise UserError(f"{file}: there are {side} {kind} but no {missing} {kind}; give both or neither")
        if len(values) != len(images):
            raise UserError(f"{file}: {len(values)} {kind} for {len(images)} images in {files[f'{side}_images']}")
        if given["test"].shape[1:] != given["train"].shape[1:]:
            count, wanted = given["test"].shape[1], given["train"].shape[1]
            raise UserError(f"{files['test_factors']}: test images have {count} factors, training images {wanted}")
