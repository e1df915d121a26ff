"""Write config/README.md, the reference of the config, from the schema: `python config/readme.py`."""

import json
from collections.abc import Iterator
from pathlib import Path

from vae.config import schema

HERE = Path(__file__).parent
FILE = HERE / "README.md"
HEAD = """# Configuration

<!-- Made from vae/config.schema.yaml by config/readme.py. -->

A study is a YAML file with the keys that differ from the defaults. It runs in a checkout of this repository, of which
jobs import the package:

```sh
snakemake --cores all --configfile mine.yaml
```

Several files may follow `--configfile`, of which later ones go before earlier ones, and `--config` goes before them:
`--config threads=2 'training={epochs: 3}'`. Paths begin at the folder that Snakemake works in, `--directory`. What is
not allowed is refused in one line, before any job. [config.yaml](../config.yaml), the default study, says more of each
key; [workflow/studies](../workflow/studies) has others.
"""


def readme() -> str:
    """The page: a table of keys for each section of the schema, and one for the keys that have none."""
    sections = schema()["properties"]
    tables = {name: part["properties"] for name, part in sections.items() if "properties" in part}
    alone = {name: part for name, part in sections.items() if "properties" not in part}
    parts = [f"\n## `{name}`\n\n" + "\n".join(table(keys)) + "\n" for name, keys in tables.items()]
    return HEAD + "".join(parts) + "\n## Keys without a section\n\n" + "\n".join(table(alone)) + "\n"


def table(keys: dict[str, dict]) -> Iterator[str]:
    """The lines of a table of keys, each a schema."""
    yield "| key | default | type | what it is |"
    yield "|---|---|---|---|"
    for name, part in keys.items():
        yield f"| `{name}` | `{json.dumps(part['default'])}` | {kind(part)} | {part['description']} |"


def kind(part: dict) -> str:
    """What values a key takes: their type, or those that there are."""
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    types = part["type"] if isinstance(part["type"], list) else [part["type"]]
    of = f" of {part['items']['type']}s" if isinstance(part.get("items", {}).get("type"), str) else ""
    return " or ".join(types) + of


if __name__ == "__main__":
    FILE.write_text(readme(), encoding="utf-8")
