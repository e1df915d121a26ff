"""Build the encoder in C++, and print where its program is."""

import argparse
from pathlib import Path

from export import native
from vae.errors import UserError


def arguments(parser: argparse.ArgumentParser) -> None:
    """The action, and the folder to copy the build to."""
    parser.add_argument("action", choices=["build"], help="build it for this machine, once")
    parser.add_argument(
        "--copy-to", type=Path, metavar="FOLDER", help="copy program, library and header to this folder"
    )


def run(args: argparse.Namespace) -> None:
    """Build it, unless that is done already."""
    if args.copy_to and args.copy_to.exists():
        raise UserError(f"{args.copy_to}: already exists; choose another folder")
    folder = native.build()
    if args.copy_to:
        native.copy(args.copy_to)
        folder = args.copy_to
    print(folder / "bin" / "latent-encode")
