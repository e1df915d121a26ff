"""Snakemake as the tests start it: a process of its own, forked from one that has imported what takes seconds.

It imports nothing of this repository: the copy of it that a test is about is found from the test's folder.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["torch", "pandas", "jsonschema", "snakemake.cli"])
HERE = Path(__file__).parent


def start(arguments: list[str], folder: Path, environment: dict[str, str], output: Path):
    """`python -m snakemake` at work in a folder, in a session of its own, as a shell starts it; it prints to a file."""
    process = SERVER.Process(target=_run, args=(arguments, str(folder), environment, str(output)), daemon=True)
    process.start()
    return process


def snakemake(arguments: list[str], folder: Path, environment: dict[str, str]) -> tuple[int | None, str]:
    """What `python -m snakemake` returns, and prints, in a folder."""
    with tempfile.NamedTemporaryFile("r") as printed:
        process = start(arguments, folder, environment, Path(printed.name))
        process.join()
        return process.exitcode, printed.read()


def _run(arguments: list[str], folder: str, environment: dict[str, str], output: str) -> None:
    os.setsid()
    # A shell that starts these tests in the background has them ignore SIGINT, and all that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream in (1, 2):
        os.dup2(os.open(output, os.O_WRONLY | os.O_APPEND), stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["snakemake", *arguments]
    sys.path = [folder, *(path for path in sys.path if Path(path) not in (HERE, HERE.parent))]
    from snakemake.cli import main

    main()
