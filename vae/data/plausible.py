"""Probable mistakes in data of a user's own whose images and labels are valid."""

import hashlib
from collections.abc import Iterator

import numpy as np

from vae.data.dataset import Dataset
from vae.errors import UserError

# Of 255: where no pixel is brighter, grey levels are of fewer than 8 bits.
DARK = 63


def review(dataset: Dataset) -> list[str]:
    """Lines that say what is unusual; UserError where no study of these images can be meant."""
    train, test = dataset.train_images, dataset.test_images
    brightest = {"training": train.max(), "test": test.max()}
    for name, level in brightest.items():
        if level <= 1:
            raise UserError(
                f"{dataset.source}: the brightest pixel of its {name} images is {level} of 255, which is black;"
                " multiply images of 0 and 1 by 255"
            )
    if len(train) > 1 and all(np.array_equal(train[0], image) for image in train[1:]):
        raise UserError(f"{dataset.source}: all {len(train)} training images are the same image")
    if (shared := _shared(train, test)) == len(test):
        raise UserError(
            f"{dataset.source}: every test image is a training image too; give images that no model is trained on"
        )
    remarks = list(_of_labels(dataset.train_labels, dataset.test_labels))
    if max(brightest.values()) <= DARK:
        remarks.append(f"the brightest pixel is {max(brightest.values())} of 255; grey levels go from 0 to 255")
    if shared:
        remarks.append(f"{shared} of {len(test)} test images are training images too")
    if len(test) > len(train):
        remarks.append(f"has {len(test)} test images and {len(train)} training images; they may be swapped")
    return [f"{dataset.source}: {remark}" for remark in remarks]


def _of_labels(train: np.ndarray | None, test: np.ndarray | None) -> Iterator[str]:
    if train is None or test is None:
        return
    trained, tested = set(train.tolist()), set(test.tolist())
    if len(trained) == 1:
        yield f"all training labels are {min(trained)}: no class can be read from codes"
    elif unseen := sorted(tested - trained):
        some = ", ".join(map(str, unseen[:5])) + (", …" if len(unseen) > 5 else "")
        yield f"test images have labels that no training image has: {some}"


def _shared(train: np.ndarray, test: np.ndarray) -> int:
    """How many test images are, pixel by pixel, training images too."""
    known = set(map(_digest, train))
    return sum(digest in known for digest in map(_digest, test))


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()
