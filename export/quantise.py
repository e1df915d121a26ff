"""Encoders in 8-bit integers: faster on processors that multiply them, and less exact; by how much is measured.

Static quantisation: weights have a scale for each output, activations one for each layer, set so that the range seen on
training images just fits. Grey levels are integers already, and heads give floats.
"""

from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from export.runtime import BATCH, MANIFESTS, content, open_session, run
from vae import probes
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
    """Write `encoder.int8.onnx` beside `encoder.onnx`, calibrated on the first of these training images.

    A diverged model, whose weights have no range, is written as it is; its metadata says so.
    """
    graph = onnx.load_from_string(content(folder / FILES["float32"]))
    facts = {entry.key: entry.value for entry in graph.metadata_props}
    diverged = read_json(folder / "metrics.json")["status"] != "ok"
    (folder / MANIFESTS[FILES["int8"]]).unlink(missing_ok=True)  # it is of the file that this one replaces
    facts["precision"] = "float32, for the model diverged" if diverged else "8-bit integers"
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


def cost(
    folder: Path,
    train: np.ndarray,
    test: np.ndarray,
    labels: tuple[np.ndarray | None, np.ndarray | None],
    exact: tuple[np.ndarray, np.ndarray],
    threads: int,
) -> dict:
    """What 8-bit integers cost a model, on training and test images and their labels.

    `exact` are mean and log-variance of the test images by `encoder.onnx`. Root mean squared errors are over images and
    dimensions; that of the means is in the prior's standard deviations, and `mean_spread` is by how much they vary in
    that unit. Accuracies are those of `vae.probes`, fitted and scored on codes of the quantised encoder; those of the
    exact codes are in `projection.json`, from where they are repeated.
    """
    session = open_session(folder / FILES["int8"], threads)
    train_mean, (mean, log_variance) = run(session, train)[0], run(session, test)
    exactly, quantised = read_json(folder / "projection.json"), probes.measure(train_mean, labels[0], mean, labels[1])
    found = {
        "mean_rms_error": _rms(mean - exact[0]),
        "mean_spread": _rms(exact[0] - exact[0].mean(0)),
        "log_variance_rms_error": _rms(log_variance - exact[1]),
    }
    for name in ("probe_accuracy", "knn_accuracy"):
        found[name] = {"float32": exactly[name], "int8": quantised[name]}
    files = {kind: (folder / name).read_bytes() for kind, name in FILES.items()}
    found["bytes"] = {kind: len(content) for kind, content in files.items()}
    return found | {"sha256": {FILES["int8"]: sha256(files["int8"])}}


def _rms(values: np.ndarray) -> float | None:
    """Root mean square, None where values are not finite."""
    found = float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
    return found if np.isfinite(found) else None
