"""What leaves the workflow: trained models as TorchScript and ONNX, checked, and how to run them."""
