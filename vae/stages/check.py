"""Check the config against the dataset's images, and write it, merged."""

import argparse

import yaml

from vae import arguments as shared
from vae.files import read_config, read_json, write_text
from vae.measures.gaps import check_images
from vae.models.vae import check_grid


def arguments(parser: argparse.ArgumentParser) -> None:
    """The config, the dataset, and the config.yaml to write."""
    shared.add(parser, "--config", "--dataset", "output")


def run(args: argparse.Namespace) -> None:
    """Write the config, once its networks can be built for these images, and there are as many as it asks for."""
    config, facts = read_config(args.config), read_json(args.dataset.with_suffix(".json"))
    check_grid(config, tuple(facts["image_shape"]))
    trained_on = config["training"]["images"] or facts["train_images"]
    check_images(config["evaluation"]["gap_images"], trained_on, facts["test_images"])
    write_text(args.output, yaml.safe_dump(config, sort_keys=False))
