"""The config on the command line of Snakemake, where Snakemake itself reads less."""

import json
from collections.abc import Sequence
from contextlib import suppress

import yaml
from snakemake.cli import parse_config
from snakemake.utils import update_config


def nested(words: Sequence[str] | None, given: dict) -> dict:
    """The nested values of `--config`, such as `training={epochs: 3}`, with the types that they have in YAML or JSON.

    Snakemake leaves each of them text. `given` is what it made of `words`, those of the option; where it is something
    else, a program has set it, and there is nothing to read.
    """
    values: dict = {}
    with suppress(ValueError):  # keys that no command line can have
        if parse_config(words) != given:
            return {}
        for key, _, text in (word.partition("=") for word in words or ()):
            value = _value(text)
            if isinstance(value, dict | list):
                update_config(values, {key: value})
    return values


def _value(text: str) -> object:
    for read in (json.loads, yaml.safe_load):  # 1e-5 is a number of JSON, and text of YAML
        with suppress(ValueError, yaml.YAMLError):
            return read(text)
    return text
