"""What leaves the workflow: trained models as TorchScript and ONNX, checked, and how to run them."""

from export.encoder import Encoder

__all__ = ["Encoder"]
