"""What leaves the workflow: trained models as TorchScript and ONNX, checked, and how to run them."""

from typing import Any

from export.encoder import Encoder
from export.model import Decoder, Model

__all__ = ["Decoder", "Encoder", "LatentTransformer", "Model"]


def __getattr__(name: str) -> Any:
    # scikit-learn is no part of what encoding needs, and takes a second.
    if name != "LatentTransformer":
        raise AttributeError(f"module 'export' has no attribute {name!r}")
    try:
        from export.transformer import LatentTransformer
    except ModuleNotFoundError as error:
        from vae.errors import lacking

        raise ModuleNotFoundError(lacking(f"export.{name}", error), name=error.name) from None
    return LatentTransformer
