"""Trained models outside of the workflow: TorchScript and ONNX, checked, and the classes that run them."""

from importlib import import_module
from typing import Any

from export.encoder import Encoder
from export.model import Decoder, Model

__all__ = ["Decoder", "Encoder", "LatentTransformer", "Model", "save"]

# Imported when they are asked for: scikit-learn and torch are no part of what encoding needs, and take seconds.
_HOMES = {"LatentTransformer": "export.transformer", "save": "export.graphs"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'export' has no attribute {name!r}")
    try:
        return getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        from vae.errors import lacking

        raise ModuleNotFoundError(lacking(f"export.{name}", error), name=error.name) from None
