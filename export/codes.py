"""Codes back to images, with an exported decoder."""

import logging
from pathlib import Path

import numpy as np

from export.images import open_npy
from export.model import Decoder
from vae.errors import UserError
from vae.files import replacing

log = logging.getLogger(__name__)

CHUNK = 4096


def decode_file(
    model: str | Path, source: str | Path, target: str | Path, threads: int | None = None, overwrite: bool = False
) -> None:
    """Write the images of codes, `.npy [N, latent]`, to `target`, `.npy`, `uint8 [N, ...]`, in bounded memory.

    `model` is a model's folder, or a `decoder.onnx`. Raises UserError for codes that are not of the decoder's size, or
    a target that exists; warns of codes that are not finite.
    """
    source, target = Path(source), Path(target)
    if target.exists() and not overwrite:
        raise UserError(f"{target}: already exists; choose another name, or pass --overwrite")
    decoder, array = Decoder.load(model, threads), open_npy(source)
    if array.ndim != 2 or array.shape[1] != decoder.latent_size or array.dtype.kind != "f":
        raise UserError(f"{source}: codes are floats [N, {decoder.latent_size}], not {array.dtype} {list(array.shape)}")
    not_finite = 0
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(array), *decoder.image_shape)}
    with replacing(target) as partial, open(partial, "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for start in range(0, len(array), CHUNK):
            codes = array[start : start + CHUNK]
            not_finite += int((~np.isfinite(codes).all(1)).sum())
            stream.write(decoder.decode(codes).data)
    if not_finite:
        log.warning("%s: %d of %d codes are not finite; their images are meaningless", source, not_finite, len(array))
