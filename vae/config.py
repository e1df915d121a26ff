"""The study's configuration: defaults and checks from its schema, and what no schema can say."""

import difflib
from collections.abc import Iterable
from copy import deepcopy
from functools import cache
from itertools import chain, islice
from math import isfinite
from pathlib import Path

import jsonschema
import yaml

from vae import grid
from vae.errors import UserError

# What no study's config exceeds: its values, how deep they are nested, and whole numbers.
MOST, DEEPEST, LARGEST = 100_000, 10, 2**63

# JSON Schema takes 4.0 for an integer, and YAML's .nan and .inf for numbers; a study cannot.
Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "integer": lambda _, value: isinstance(value, int) and not isinstance(value, bool),
            "number": lambda _, value: (
                isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
            ),
        }
    ),
)


@cache
def schema() -> dict:
    """The schema of a config, with the defaults and a description of every key."""
    return yaml.safe_load((Path(__file__).parent / "config.schema.yaml").read_text(encoding="utf-8"))


def complete(config: dict, schema: dict) -> dict:
    """A copy of `config` with the schema's defaults filled in.

    Raises UserError, one line that says which key is wrong and why, for whatever the schema does not allow.
    """
    _check_extent(config)
    _check_keys(config)
    config = deepcopy(config)
    _fill(config, schema)
    _check(config, schema)
    _check_variants(config, schema)
    return config


def _check(config: dict, schema: dict) -> None:
    if error := jsonschema.exceptions.best_match(Validator(schema).iter_errors(config)):
        raise UserError(_explain(error))


def _check_variants(config: dict, schema: dict) -> None:
    """Refuse a key that cannot be swept or tuned, and values that it cannot have."""
    for where, read in (("sweep", grid.variants), ("tune", grid.tuned)):
        try:
            read(config)
            for key, values in config["grid"][where].items():
                for value in values:
                    _check(grid.varied(config, {key: value}), schema)
        except UserError as error:
            raise UserError(f"grid.{where}: {error}") from None


def _check_extent(config: dict) -> None:
    """Refuse what would take endless time or memory to copy, to compare or to quote.

    YAML's aliases make a few lines a config of any extent, or one that contains itself; Snakemake reads them.
    """
    level = [config]
    for _ in range(DEEPEST):
        level = list(islice(chain.from_iterable(map(_inside, level)), MOST + 1))
        if len(level) > MOST:
            raise UserError(f"config: more than {MOST} values; write out what aliases stand for")
        if any(isinstance(value, int) and abs(value) >= LARGEST for value in level):
            raise UserError("config: a whole number of more than 18 digits; the largest that a study takes is 2^63 - 1")
    if level:
        raise UserError(f"config: nested deeper than {DEEPEST} levels")


def _check_keys(tree: object, where: str = "") -> None:
    """Refuse a key that is a number, a date or empty, which YAML has and no schema knows."""
    if isinstance(tree, list):
        for value in tree:
            _check_keys(value, where)
    elif isinstance(tree, dict):
        for key, value in tree.items():
            if not isinstance(key, str):
                raise UserError(f"{where or 'config'}: {key!r}: not a key, which is text")
            _check_keys(value, f"{where}.{key}".removeprefix("."))


def _inside(value: object) -> Iterable:
    if isinstance(value, dict):
        return chain(value, value.values())
    return value if isinstance(value, list | tuple | set) else ()


def _fill(config: object, schema: dict) -> None:
    for key, part in schema.get("properties", {}).items():
        if isinstance(config, dict):
            if "default" in part or "properties" in part:
                config.setdefault(key, deepcopy(part.get("default", {})))
            _fill(config.get(key), part)


def _explain(error: jsonschema.ValidationError) -> str:
    where = error.json_path.removeprefix("$").removeprefix(".")
    if error.validator == "additionalProperties":
        expected = list(error.schema["properties"])
        key = next(key for key in error.instance if key not in expected)
        guess = difflib.get_close_matches(str(key), expected, 1)
        hint = f"did you mean {guess[0]!r}?" if guess else f"known here are {', '.join(expected)}"
        return f"{'.'.join(filter(None, (where, str(key))))}: unknown key; {hint}"
    if error.validator == "type" and isinstance(error.instance, str) and _is_number(error.instance):
        return f"{where}: {error.instance!r} is text; write a number without quotes, and 1.0e-5 rather than 1e-5"
    description = error.schema.get("description", "").split(". ")[0].rstrip(".")
    return f"{where}: {error.message}" + (f" ({description})" if description else "")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
