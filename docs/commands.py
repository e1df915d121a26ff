"""Write docs/reference/commands.md, the reference of the command line, from its parsers: `python docs/commands.py`."""

import os
from pathlib import Path

from vae.catalogue import STAGES, TOOLS
from vae.cli import parser_of

FILE = Path(__file__).parent / "reference/commands.md"
HEAD = """# Command line

<!-- Made from the parsers of vae/cli.py by docs/commands.py. -->

`vae <command> --help` prints what stands here. Commands of the first part are for people; those of the second are the
stages of a study, which the rules of the workflow call, and which work by hand too.
"""


def page() -> str:
    """The help of every command, tools before stages."""
    os.environ["COLUMNS"] = "100"
    parts = [HEAD]
    for title, names in (("Tools", TOOLS), ("Stages", STAGES)):
        parts += [
            f"\n## {title}\n",
            *(f"\n### vae {name}\n\n```\n{parser_of(name).format_help()}```\n" for name in names),
        ]
    return "".join(parts)


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
