"""Encoders in 8-bit integers: faster on processors that multiply them, and less exact; by how much is measured.

Static quantisation: weights have a scale for each output, activations one for each layer, set so that the range seen on
validation images just fits. Grey levels are integers already, and heads give floats.
"""

from pathlib import Path
from time import perf_counter

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from export.runtime import BATCH, MANIFESTS, content, open_session, run
from vae.files import read_json, replacing, sha256

LAYERS = ["Conv", "Gemm", "LeakyRelu"]
FILES = {"float32": "encoder.onnx", "int8": "encoder.int8.onnx"}
CALIBRATION_IMAGES = 1000
# Weights of 7 bits, from -64 to 64: processors without VNNI add products of 8 by 8 bits in pairs, at 16 bits, where two
# large ones saturate. So the accuracy is the same on every processor.
REDUCE_RANGE = True
PRE_PROCESSED = {"onnx.quant.pre_process": "onnxruntime.quant"}


class Calibration(CalibrationDataReader):
    """Images `uint8 [N, ...]` for onnxruntime to see the range of every activation on."""

    def __init__(self, name: str, images: np.ndarray):
        self._batches = iter([{name: images[i : i + BATCH]} for i in range(0, len(images), BATCH)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch, None after the last."""
        return next(self._batches, None)


def quantise(folder: Path, images: np.ndarray) -> None:
    """Write `encoder.int8.onnx` beside `encoder.onnx`, calibrated on the first of these images.

    A diverged model, whose weights have no range, is written as it is; its metadata says so.
    """
    graph = onnx.load_from_string(content(folder / FILES["float32"]))
    facts = {entry.key: entry.value for entry in graph.metadata_props}
    diverged = read_json(folder / "metrics.json")["status"] != "ok"
    (folder / MANIFESTS[FILES["int8"]]).unlink(missing_ok=True)  # it is of the file that this one replaces
    facts["precision"] = "float32, because the model diverged" if diverged else "8-bit integers"
    with replacing(folder / FILES["int8"]) as partial:
        if not diverged:
            # The exporter leaves nothing to optimise before; this spares a warning that it might have.
            onnx.helper.set_model_props(graph, PRE_PROCESSED)
            # Grey levels come to the first layer with a scale of exactly 1, whatever the brightest of these images. A
            # layer that does not take them as they are has the range that is seen.
            kinds = [node.op_type for node in graph.graph.node]
            first = next(node.input[0] for node in graph.graph.node if node.op_type in LAYERS)
            whole = {} if "Div" in kinds else {first: [{"rmin": np.float32(0), "rmax": np.float32(255)}]}
            quantize_static(
                graph,
                partial,
                Calibration(graph.graph.input[0].name, images[:CALIBRATION_IMAGES]),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=LAYERS,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                reduce_range=REDUCE_RANGE,
                extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"], "TensorQuantOverrides": whole},
            )
            graph = onnx.load(partial)
        onnx.helper.set_model_props(graph, facts)
        onnx.save(graph, partial)


def times_as_fast(folder: Path, images: np.ndarray, threads: int) -> float:
    """The time that these images take `encoder.onnx` here over that of `encoder.int8.onnx`: each the best of three.

    They take turns, so that other work of the machine meets both. 8-bit integers pay where this is above 1.
    """
    seconds: dict[str, list[float]] = {kind: [] for kind in FILES}
    sessions = {kind: open_session(folder / name, threads) for kind, name in FILES.items()}
    for _ in range(3):
        for kind, session in sessions.items():
            begun = perf_counter()
            run(session, images)
            seconds[kind].append(perf_counter() - begun)
    return min(seconds["float32"]) / min(seconds["int8"])


def described(folder: Path) -> dict:
    """Sizes in bytes of both encoders, and the SHA-256 of the one in 8-bit integers and of what it was made from."""
    files = {kind: (folder / name).read_bytes() for kind, name in FILES.items()}
    return {
        "bytes": {kind: len(content) for kind, content in files.items()},
        "sha256": {FILES["int8"]: sha256(files["int8"])},
        "made_from": sha256(files["float32"]),
    }
