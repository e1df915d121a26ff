"""Encode images with a trained encoder: onnxruntime and NumPy are all it takes.

python encode_with_onnxruntime.py results/models/L50_DNN1_CNN4/seed0/encoder.onnx images.npy latents.npy
"""

import sys

import numpy as np
import onnxruntime

model, source, target = sys.argv[1:]
images = np.load(source)  # uint8 [N, 28, 28], grey levels as they are
encoder = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
means = [encoder.run(["mean"], {"images": images[i : i + 256]})[0] for i in range(0, len(images), 256)]
np.save(target, np.concatenate(means))
