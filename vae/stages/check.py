"""Check the grid against the dataset's images, and write the merged config."""

import argparse

import yaml

from vae import arguments as shared
from vae.files import read_config, read_json, write_text
from vae.models.vae import check_grid


def arguments(parser: argparse.ArgumentParser) -> None:
    """The config, the dataset, and the config.yaml to write."""
    shared.add(parser, "--config", "--dataset", "output")


def run(args: argparse.Namespace) -> None:
    """Write the config, once every network of its grid can be built for these images."""
    config = read_config(args.config)
    check_grid(config, tuple(read_json(args.dataset.with_suffix(".json"))["image_shape"]))
    write_text(args.output, yaml.safe_dump(config, sort_keys=False))
