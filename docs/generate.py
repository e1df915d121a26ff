"""Write the pages of docs/reference that have their text from the code: `python docs/generate.py`."""

import os
from collections.abc import Callable
from pathlib import Path

from vae.catalogue import FIGURES, STAGES, TOOLS
from vae.cli import parser_of

REFERENCE = Path(__file__).parent / "reference"
COMMANDS = """# Command line

<!-- Made from the parsers of vae/cli.py by docs/generate.py. -->

`vae <command> --help` prints the same. The first part has the commands for people. The second has the stages of a
study, which the rules of the workflow call, and which also work by hand.
"""
FIGURES_OF_A_STUDY = """# Figures

<!-- Made from vae/catalogue.py by docs/generate.py. -->

A study draws these figures as `results/figures/<name>.png` and `.pdf`, by category as in the report of Snakemake.
"""


def commands() -> str:
    """The help of every command, tools before stages."""
    os.environ["COLUMNS"] = "100"
    parts = [COMMANDS]
    for title, names in (("Tools", TOOLS), ("Stages", STAGES)):
        parts += [
            f"\n## {title}\n",
            *(f"\n### vae {name}\n\n```\n{parser_of(name).format_help()}```\n" for name in names),
        ]
    return "".join(parts)


def figures() -> str:
    """The caption of every figure, by category."""
    parts, category = [FIGURES_OF_A_STUDY], ""
    for figure in sorted(FIGURES.values(), key=lambda figure: figure.category):
        if figure.category != category:
            category = figure.category
            parts.append(f"\n## {category.lstrip('0123456789 ')}\n")
        drawn = f" Drawn if `{figure.shows}` is set or swept." if figure.shows else ""
        parts.append(f"\n**`{figure.name}`** {figure.caption}{drawn}\n")
    return "".join(parts)


PAGES: dict[str, Callable[[], str]] = {"commands.md": commands, "figures.md": figures}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")
