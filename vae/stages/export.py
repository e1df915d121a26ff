"""Export models to TorchScript and ONNX, and check both."""

import argparse

import torch

from export.graphs import export_trained
from vae import arguments as shared
from vae.data.dataset import load
from vae.errors import UserError
from vae.grid import parse_folder
from vae.models.own import described


def arguments(parser: argparse.ArgumentParser) -> None:
    """The dataset, whose test images the exports are checked with, and the folders of models."""
    shared.add(parser, "--dataset", "--families", "--threads", "--done", "models")


def run(args: argparse.Namespace) -> None:
    """Write encoder and decoder in both formats, and export.json, the check, of every model."""
    torch.set_num_threads(args.threads)
    images = load(args.dataset).test_images
    for folder in args.models:
        try:
            export_trained(folder, images, args.origin_of(folder))
        except (UserError, OSError):
            raise
        except Exception as error:
            spec, _ = parse_folder(folder)
            if not (spec.encoder.is_own or spec.decoder.is_own):
                raise
            raise UserError(f"{folder}: networks that TorchScript and ONNX cannot hold: {described(error)}") from None
