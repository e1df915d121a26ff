"""Check the config against the dataset's images, and write it, merged."""

import argparse
import logging

import yaml

from vae import arguments as shared
from vae.data import amounts
from vae.files import read_config, read_json, write_text
from vae.models.vae import check_grid

log = logging.getLogger(__name__)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The config, the dataset, and the config.yaml to write."""
    shared.add(parser, "--config", "--dataset", "--families", "output")


def run(args: argparse.Namespace) -> None:
    """Write the config, once its networks can be built for these images, and there are as many as it asks for."""
    config, facts = read_config(args.config), read_json(args.dataset.with_suffix(".json"))
    check_grid(config, tuple(facts["image_shape"]))
    amounts.check(config, facts["train_images"], facts["test_images"])
    for remark in amounts.remarks(config, facts):
        log.warning("%s", remark)
    write_text(args.output, yaml.safe_dump(config, sort_keys=False))
