"""Decode codes, .npy [N, latent], with a trained decoder, to images .npy `uint8`."""

import argparse
from pathlib import Path

from export.codes import decode_file
from vae import arguments as shared


def arguments(parser: argparse.ArgumentParser) -> None:
    """The model, the codes, and the file to write."""
    parser.add_argument("model", type=Path, help="the folder of a model, or its decoder.onnx")
    parser.add_argument("codes", type=Path, help="codes to read")
    parser.add_argument("output", type=Path, help="the .npy to write")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all)")
    shared.add(parser, "--overwrite")


def run(args: argparse.Namespace) -> None:
    """Write the images."""
    decode_file(args.model, args.codes, args.output, args.threads, args.overwrite)
    print(args.output)
