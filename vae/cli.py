"""The command line: `vae <command>`, of the tools that people type and of the stages that the workflow calls.

The first word says which module of `vae/tools` or `vae/stages` runs; no other is imported, because torch takes seconds.
"""

import argparse
import logging
import os
import sys
from importlib import import_module
from pathlib import Path
from time import time_ns
from types import ModuleType

from vae import __version__
from vae.arguments import Parser
from vae.catalogue import EXTRAS, STAGES, TOOLS
from vae.errors import UserError, lacking
from vae.files import write_text

log = logging.getLogger("vae")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: its own or 0, 2 for bad input, 1 for what the system refused."""
    try:
        try:
            return _run(sys.argv[1:] if arguments is None else arguments)
        finally:  # also after --help, which exits
            _flush()
    except UserError as error:
        log.error("%s", error)
        return 2
    except BrokenPipeError:
        return 0  # the reader of the output, such as `head`, has had enough
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        log.error("%s%s", where, error.strerror or error)
        return 1
    except Exception:
        log.exception("unexpected error, please report it")
        return 1


def _flush() -> None:
    """Hand on what was printed; what cannot be is dropped, for Python would complain of it at its exit."""
    try:
        if sys.stdout:  # None where it is closed
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _run(words: list[str]) -> int:
    name = _overview().parse_args(words[:1]).command
    try:
        module = _module(name)
    except ModuleNotFoundError as error:
        _start_log(None)
        raise UserError(lacking(f"vae {name}", error, EXTRAS.get(name, "study"))) from None
    parser = parser_of(name)
    args = parser.parse_args(words[1:])
    args.origin = parser.origin(args)
    args.origin_of = lambda folder: parser.origin(args, [folder])
    _start_log(args.log)
    if getattr(args, "families", None):
        import_module("vae.models.own").load_families(args.families)
    code = module.run(args) or 0
    if getattr(args, "done", None):
        write_text(args.done, f"{time_ns()}\n")
    return code


def _module(name: str) -> ModuleType:
    return import_module(f"vae.{'stages' if name in STAGES else 'tools'}.{name}")


def parser_of(name: str) -> Parser:
    """The parser of a command."""
    module = _module(name)
    parser = Parser(name, module.__doc__)
    module.arguments(parser)
    return parser


def _overview() -> argparse.ArgumentParser:
    """The parser of the first word, whose help lists all commands."""
    stages = {name: stage.summary for name, stage in STAGES.items()}
    headings = {"commands (vae <command> --help says more of one)": dict(TOOLS), "stages of the workflow": stages}
    lists = [
        f"{heading}:\n" + "\n".join(f"  {n:<16}{s}" for n, s in names.items()) for heading, names in headings.items()
    ]
    parser = argparse.ArgumentParser(
        prog="vae",
        usage="vae [--help] [--version] <command> …",
        description="How do the architectures of a VAE's encoder and decoder decide what it learns?",
        epilog="\n\n".join(lists),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"vae {__version__}")
    parser.add_argument("command", choices=[*TOOLS, *STAGES], metavar="<command>", help=argparse.SUPPRESS)
    return parser


def _start_log(path: Path | None) -> None:
    """Progress goes to the log file, or to the terminal where there is none; warnings and errors always go to both."""
    logging.raiseExceptions = False  # a log that cannot be written, on a full disk, must not hide the error itself
    terminal = logging.StreamHandler()
    terminal.setFormatter(logging.Formatter("vae: %(levelname)s: %(message)s"))
    handlers: list[logging.Handler] = [terminal]
    if path:
        terminal.setLevel(logging.WARNING)
        path.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(path, mode="w", encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        handlers.append(file)
    logging.basicConfig(level=logging.WARNING, handlers=handlers, force=True)
    for package in ("vae", "export"):
        logging.getLogger(package).setLevel(logging.INFO)
