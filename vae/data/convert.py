"""Advice for messages: how to convert arrays that are nearly images or labels, in NumPy."""

from math import isqrt

import numpy as np

# A last axis this short is that of channels, where the one that should be is longer.
MOST_CHANNELS = 4


def is_channel_last(images: np.ndarray) -> bool:
    """Whether images `[N, ...]` of four axes look like `[N, H, W, C]`."""
    return images.ndim == 4 and images.shape[-1] <= MOST_CHANNELS < images.shape[1]


def to_images(array: np.ndarray) -> str:
    """The end of a message about an array that is not `uint8 [N, H, W]` or `[N, C, H, W]`; empty without advice."""
    images = "images"
    if array.ndim == 2 and (side := isqrt(array.shape[1])) ** 2 == array.shape[1]:
        images = f"images.reshape(-1, {side}, {side})"
    elif is_channel_last(array):
        images = "np.moveaxis(images, -1, 1)"
    elif array.ndim not in (3, 4):
        return ""
    converted = images if array.dtype == np.uint8 else _to_bytes(array, images)
    return f"; convert with {converted}" if converted else "; scale grey levels to 0 to 255, and convert to uint8"


def _to_bytes(array: np.ndarray, images: str) -> str:
    """The expression that makes `uint8` of images of another type, by their range; empty where that is not clear."""
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind not in "biuf":
        return ""
    low, high = array.min(), array.max()
    if kind == "b":
        return f"{images} * np.uint8(255)"
    if kind == "f" and low >= 0 and high <= 1:
        return f"np.rint({images} * 255).astype(np.uint8)"
    if kind == "f" and low >= -1 and high <= 1:
        return f"np.rint(({images} + 1) * 127.5).astype(np.uint8)"
    if low >= 0 and high <= 255:
        return f"np.rint({images}).astype(np.uint8)" if kind == "f" else f"{images}.astype(np.uint8)"
    if kind == "i" and size == 1:
        return f"{images}.view(np.uint8)"
    if kind in "iu" and low >= 0:
        # Of 12 bits, say, in an array of 16.
        return f"np.rint({images} / {2 ** int(high).bit_length() - 1} * 255).astype(np.uint8)"
    return ""


def to_labels(array: np.ndarray) -> str:
    """The end of a message about an array that is not integers `[N]`; empty without advice."""
    if array.ndim == 2 and array.shape[1] == 1:
        return "; convert with labels.ravel()"
    if array.ndim == 2 and array.dtype.kind in "biuf" and (np.count_nonzero(array, axis=1) == 1).all():
        return "; convert with labels.argmax(1)"
    if array.ndim == 1 and array.dtype.kind in "bf" and (np.isfinite(array) & (array == np.trunc(array))).all():
        return "; convert with labels.astype(np.int64)"
    if array.ndim == 1 and array.dtype.kind in "US":
        return "; convert with np.unique(labels, return_inverse=True)[1], of both sets together"
    return ""
