"""Fetch, check and write the dataset."""

import argparse

from vae import arguments as shared
from vae.data.dataset import save
from vae.data.source import load
from vae.files import read_config


def arguments(parser: argparse.ArgumentParser) -> None:
    """The config, and dataset.npz to write."""
    shared.add(parser, "--config", "--threads", "output")


def run(args: argparse.Namespace) -> None:
    """Write the dataset, and beside it what is known of it."""
    save(load(read_config(args.config)["dataset"], args.threads), args.output)
