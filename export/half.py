"""Graphs with weights of half precision, for files that are sent around: half as large, computed as before."""

import numpy as np
import onnx
from onnx import numpy_helper

SMALL = 256  # values of a weight that stays as it is


def halved(graph: bytes) -> bytes:
    """An ONNX file with every large weight stored as float16 and taken to float32 where it is used.

    A weight that float16 cannot hold, for it is too large, stays as it is.
    """
    model = onnx.load_from_string(graph)
    casts, kept = [], []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < SMALL or np.abs(values).max() > np.finfo(np.float16).max:
            kept.append(weight)
            continue
        stored = f"{weight.name}_float16"
        kept.append(numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(onnx.helper.make_node("Cast", [stored], [weight.name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return model.SerializeToString()
