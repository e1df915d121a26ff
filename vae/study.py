"""The study's configuration: defaults and checks from its schema, and what no schema can say."""

import difflib
from copy import deepcopy
from math import isfinite

import jsonschema

from vae.errors import UserError
from vae.grid import expand

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


def complete(config: dict, schema: dict) -> dict:
    """A copy of `config` with the schema's defaults filled in.

    Raises UserError, one line that says which key is wrong and why, for whatever the schema does not allow.
    """
    config = deepcopy(config)
    _fill(config, schema)
    if error := jsonschema.exceptions.best_match(Validator(schema).iter_errors(config)):
        raise UserError(_explain(error))
    return config


def _fill(config: object, schema: dict) -> None:
    for key, part in schema.get("properties", {}).items():
        if isinstance(config, dict):
            if "default" in part or "properties" in part:
                config.setdefault(key, deepcopy(part.get("default", {})))
            _fill(config.get(key), part)


def _explain(error: jsonschema.ValidationError) -> str:
    where = error.json_path.removeprefix("$").removeprefix(".")
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        key = next(key for key in error.instance if key not in known)
        guess = difflib.get_close_matches(str(key), known, 1)
        hint = f"did you mean {guess[0]!r}?" if guess else f"known here are {', '.join(known)}"
        return f"{'.'.join(filter(None, (where, str(key))))}: unknown key; {hint}"
    if error.validator == "type" and isinstance(error.instance, str) and _is_number(error.instance):
        return f"{where}: {error.instance!r} is text; write a number without quotes, and 1.0e-5 rather than 1e-5"
    expected = error.schema.get("description", "").split(". ")[0].rstrip(".")
    return f"{where}: {error.message}" + (f" ({expected})" if expected else "")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check(config: dict, image_shape: tuple[int, ...]) -> None:
    """Raise UserError unless every network of the grid can be built for images of this shape, as large as asked for."""
    import torch  # takes seconds to import

    from vae import networks

    specs = expand(config["grid"])
    planes, widths = networks.to_planes(image_shape), networks.Widths(**config["networks"])
    for side, build in (("encoder", networks.encoder), ("decoder", networks.decoder)):
        for network, latent_size in dict.fromkeys((getattr(spec, side), spec.latent_size) for spec in specs):
            try:
                networks.check(network, image_shape)
                if getattr(widths, f"{side}_parameters"):
                    with torch.device("meta"):
                        build(network, latent_size, planes, widths)
            except UserError as error:
                raise UserError(f"grid.{side}s: {error}") from None
