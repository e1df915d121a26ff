"""Codes back to images, with an exported decoder."""

import logging
import os
from pathlib import Path

import numpy as np

from export.images import open_npy
from export.runtime import grey_levels, open_session, run, sizes
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
    source, target, graph = Path(source), Path(target), Path(model)
    graph = graph / "decoder.onnx" if graph.is_dir() else graph
    if target.exists() and not overwrite:
        raise UserError(f"{target}: already exists; choose another name, or pass --overwrite")
    if not graph.exists():
        raise UserError(f"{graph}: no such file; give a model's folder, or a decoder.onnx")
    session = open_session(graph, threads or os.cpu_count() or 1)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if [side.type for side in inputs + outputs] != ["tensor(float)"] * 2 or not sizes(outputs[0]):
        raise UserError(f"{graph}: not a decoder of this package: it has to take floats to images of one size")
    array, latent, image_shape = open_npy(source), sizes(inputs[0]), sizes(outputs[0])
    if array.ndim != 2 or array.shape[1:] != latent or array.dtype.kind != "f":
        wanted = ", ".join(map(str, latent))
        raise UserError(f"{source}: codes are floats [N, {wanted}], not {array.dtype} {list(array.shape)}")
    not_finite = 0
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(array), *image_shape)}
    with replacing(target) as partial, open(partial, "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for start in range(0, len(array), CHUNK):
            codes = np.asarray(array[start : start + CHUNK], np.float32)
            not_finite += int((~np.isfinite(codes).all(1)).sum())
            (probabilities,) = run(session, codes)
            stream.write(grey_levels(probabilities).tobytes())
    if not_finite:
        log.warning("%s: %d of %d codes are not finite; their images say nothing", source, not_finite, len(array))
