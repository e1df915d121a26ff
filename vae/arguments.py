"""Arguments that several commands share, defined once; and the record of a command."""

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from vae.provenance import Origin

SHARED: dict[str, dict] = {
    "--config": {"required": True, "help": "YAML file, or inline JSON, such as the results/config.yaml of a study"},
    "--dataset": {"required": True, "type": Path, "help": "dataset.npz, with dataset.json beside it"},
    "--families": {"type": Path, "help": "file of Python with families of your own, which is run"},
    "--threads": {"type": int, "default": 1, "help": "CPU threads"},
    "--device": {"default": "auto", "choices": ["auto", "cpu", "cuda"], "help": "auto takes a GPU if there is one"},
    "--jobs-per-gpu": {
        "type": int,
        "default": int(os.environ.get("VAE_JOBS_PER_GPU", 1)),
        "help": "how many jobs may share a GPU; others wait (default: $VAE_JOBS_PER_GPU or 1)",
    },
    "--images": {"type": int, "help": "how many test images to measure on (default: all)"},
    "--probe-images": {"type": int, "help": "how many validation images probes are fitted on (default: all)"},
    "--samples": {"type": int, "required": True, "help": "how many draws from the prior"},
    "--table": {"required": True, "type": Path, "help": "models.csv"},
    "--results": {"required": True, "type": Path, "help": "the folder of results"},
    "--tuning": {"type": Path, "help": "the file that `tune` wrote for the pair, if the study tunes"},
    "--done": {"type": Path, "help": "write the time to this file when the job is done"},
    "--overwrite": {"action": "store_true", "help": "overwrite the output if it exists"},
    "models": {"nargs": "+", "type": Path, "help": "folders of models, <anything>/<label>/seed<k>"},
    "encoder": {"help": "an encoder, such as CNN2"},
    "decoder": {"help": "a decoder, such as DNN1"},
    "output": {"type": Path, "help": "the file to write"},
}
# Where a command writes its progress is no part of what it does.
UNRECORDED = ("help", "log", "done")


def add(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add shared arguments to a parser."""
    for name in names:
        parser.add_argument(name, **SHARED[name])


class Parser(argparse.ArgumentParser):
    """A parser of one command, which takes no abbreviations and can say what it has parsed."""

    def __init__(self, name: str, description: str | None):
        super().__init__(prog=f"vae {name}", description=description, allow_abbrev=False)
        self.name = name
        self.add_argument("--log", type=Path, help="write progress to this file instead of the terminal")

    def origin(self, args: argparse.Namespace, models: Sequence[Path] | None = None) -> Origin:
        """The stage and the command that reproduces what these parsed arguments did; for some of its models alone."""
        given = vars(args) | ({"models": models} if models else {})
        words = ["python", "-m", "vae", self.name]
        positional = []
        for action in self._actions:  # argparse has no public list of them
            value = given.get(action.dest)
            if action.dest in UNRECORDED or value == action.default or value is None:
                continue
            values = [str(part) for part in value] if isinstance(value, list | tuple) else [str(value)]
            if not action.option_strings:
                positional += values
            else:
                words += [action.option_strings[0], *([] if action.nargs == 0 else values)]
        return Origin(self.name, shlex.join(words + positional))
