"""The one dataset that a study reads: images and labels, checked.

Images are `uint8 [N, H, W]` or `[N, C, H, W]`; labels, where there are any, are `int64 [N]`. Models are trained on the
training set; what is chosen is chosen on the validation set, which is drawn from the file of training images, and what
is reported is measured on the test set.
"""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vae.errors import UserError
from vae.files import check_memory, read_json, read_npz, write_json, write_npz
from vae.seeds import draw, of_study

IMAGES, LABELS = ("train_images", "test_images"), ("train_labels", "test_labels")
PARTS = ("train_images", "train_labels", "test_images", "test_labels")
VALIDATION = ("validation_images", "validation_labels")
# Where a config does not say how many images are for validation, one in so many is.
ONE_IN = 12


@dataclass(frozen=True)
class Dataset:
    """Images and labels of a training, a validation and a test set; in what is read of a user the second is empty.

    Images are `uint8 [N, H, W]` or `[N, C, H, W]`; labels are `int64 [N]`, or None in all. Where `binarised` is true,
    validation and test images are black and white, and training images are still grey.
    """

    name: str
    source: str
    train_images: np.ndarray
    test_images: np.ndarray
    train_labels: np.ndarray | None = None
    test_labels: np.ndarray | None = None
    validation_images: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8))
    validation_labels: np.ndarray | None = None
    binarised: bool = False

    @classmethod
    def of(cls, name: str, source: str, arrays: dict[str, np.ndarray]) -> "Dataset":
        """A dataset of arrays by the names in `PARTS`; labels may be missing."""
        train_labels, test_labels = (arrays.get(part) for part in LABELS)
        return cls(name, source, arrays["train_images"], arrays["test_images"], train_labels, test_labels)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """`(H, W)` or `(C, H, W)`."""
        return self.train_images.shape[1:]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that exist, by the names in `PARTS` and `VALIDATION`."""
        arrays = {part: getattr(self, part) for part in PARTS + VALIDATION}
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


def split(dataset: Dataset, count: int | None) -> Dataset:
    """The dataset with `count` of its training images, the same for every study, as its validation set.

    If `count` is None, it is one image in `ONE_IN`. Raises UserError where no training image would be left.
    """
    total = len(dataset.train_images)
    chosen = np.zeros(total, bool)
    chosen[np.random.default_rng(of_study("validation")).permutation(total)[: validation_count(total, count)]] = True
    parts: dict[str, Any] = {}
    for name, array in (("images", dataset.train_images), ("labels", dataset.train_labels)):
        if array is not None:
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
    if count > len(images):
        raise UserError(f"training.images: {count} are asked for, the dataset has {len(images)} training images")
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
            "binarised": dataset.binarised,
            "sha256": dataset.sha256,
        },
    )


def load(path: str | Path) -> Dataset:
    """What `save` wrote; UserError where it is missing or unsound."""
    facts = read_json(Path(path).with_suffix(".json"))
    arrays: dict[str, Any] = read_npz(path, VALIDATION[0], optional=VALIDATION[1:])
    return replace(read(path, facts["name"]), **arrays, source=facts["source"], binarised=facts["binarised"])


def read(path: str | Path, name: str = "own") -> Dataset:
    """Read an .npz with the arrays in `PARTS`; labels may be missing.

    Raises UserError, naming the file, for one that is missing, truncated, of a wrong type, holds pickled objects, is
    larger than the memory that is free, or whose arrays do not match each other.
    """
    arrays = read_npz(path, *IMAGES, optional=LABELS)
    return Dataset.of(name, str(path), checked(arrays, {part: f"{path}[{part}]" for part in arrays}))


def checked(arrays: dict[str, np.ndarray], files: dict[str, str]) -> dict[str, np.ndarray]:
    """The arrays of a dataset, labels as `int64`; UserError, naming the file of each part, where they are unsound."""
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
            raise UserError(f"{files[part]}: is empty (shape {list(array.shape)})")
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
    return arrays
