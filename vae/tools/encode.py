"""Encode images from IDX (plain or .gz), .npy, a PNG or a folder of PNGs with a trained encoder, to .npy.

Codes of pictures have a JSON beside them, with the names in the order of the rows.
"""

import argparse
from pathlib import Path

from export.encoder import RUNTIMES, Encoder
from vae import arguments as shared


def arguments(parser: argparse.ArgumentParser) -> None:
    """The model, the images, the file to write, and what to encode with."""
    parser.add_argument("model", type=Path, help="the folder of a model, or its encoder.onnx")
    parser.add_argument("images", type=Path, help="images to read")
    parser.add_argument("output", type=Path, help="the .npy to write")
    parser.add_argument("--runtime", default="auto", choices=RUNTIMES)
    parser.add_argument("--threads", type=int, help="CPU threads (default: all)")
    parser.add_argument("--sample", type=int, metavar="SEED", help="write samples of q(z|x) in place of its means")
    parser.add_argument("--log-variance", type=Path, metavar="FILE", help="write log-variances too, as .npy")
    shared.add(parser, "--device", "--overwrite")


def run(args: argparse.Namespace) -> None:
    """Write the codes, and print what they are."""
    encoder = Encoder.load(args.model, args.runtime, args.device, args.threads)
    encoder.encode_file(
        args.images, args.output, args.log_variance, args.sample, args.overwrite, progress=args.log is None
    )
    print(f"{args.output}: codes of {encoder.label}, with {encoder.runtime}")
