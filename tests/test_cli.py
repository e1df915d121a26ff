"""The command line: what it lists, what it refuses, and the record of a command."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from vae import __version__
from vae.catalogue import STAGES, TOOLS
from vae.cli import main, parser_of

MODULES = dict.fromkeys(TOOLS, "tools") | dict.fromkeys(STAGES, "stages")


def test_the_help_lists_the_commands_of_people_first_within_forty_lines(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 40
    listed = [line.split()[0] for line in lines if line.startswith("  ") and line.split()[0] in MODULES]
    assert listed == [*TOOLS, *STAGES]


def test_the_version_is_said(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"vae {__version__}\n"


@pytest.mark.parametrize("words", [[], ["trian"], ["tra"], ["--verbose"]])
def test_what_is_no_command_is_refused_with_code_2(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "vae: error: " in capsys.readouterr().err


@pytest.mark.parametrize("name", MODULES)
def test_every_command_says_what_it_does_and_takes(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    assert f"usage: vae {name}" in capsys.readouterr().out


def test_options_are_not_abbreviated(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["export", "--data", "dataset.npz", "L2_DNN1_DNN1/seed0"])
    assert "--dataset" in capsys.readouterr().err


# In docs and messages: between backticks, or a line of a block of a shell.
NAMED = re.compile(r"`vae ([a-z]+)\b([^`\n]*)`|^(?:python -m )?vae ([a-z]+)\b(.*)$", re.M)
TEXTS = [
    path for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "workflow/**/*.*", "vae/**/*.py", "export/**/*.py")
    for path in ROOT.glob(pattern) if path.suffix in (".md", ".py", ".smk", ".yaml")
]  # fmt: skip


def test_every_command_that_docs_and_messages_name_exists_with_its_options():
    named = [
        (path, match[1] or match[3], match[2] or match[4] or "")
        for path in TEXTS for match in NAMED.finditer(path.read_text())
    ]  # fmt: skip
    assert len(named) > 10
    for path, name, rest in named:
        assert name in MODULES, f"{path}: vae {name}"
        options = {option for action in parser_of(name)._actions for option in action.option_strings}
        for option in re.findall(r"(?<!\S)--[a-z-]+", rest):
            assert option in options, f"{path}: vae {name} {option}"


FOLDERS = ["m/L2_DNN1_DNN1/seed0", "m/L2_DNN1_DNN1/seed1"]


@pytest.mark.parametrize("log", [["--log", "a.log"], ["--log=a.log"], []])
def test_the_record_of_a_command_leaves_out_where_it_writes_its_progress(log):
    """However that was written; and names one of the models, with options before them or behind."""
    parser = parser_of("train")
    words = ["--config=c d.yaml", "--done", "jobs/done", *FOLDERS, "--dataset", "d.npz", "--max-memory", "20", *log]
    origin = parser.origin(parser.parse_args(words), [Path(FOLDERS[1])])
    assert origin.stage == "train"
    command = "python -m vae train --config 'c d.yaml' --dataset d.npz --max-memory 20"
    assert origin.command == f"{command} {FOLDERS[1]}"


def test_the_record_of_a_command_is_parsed_as_the_command_was():
    parser = parser_of("train")
    words = ["--config", '{"a": "b c"}', "--dataset", "d.npz", "--threads", "2", "--max-memory", "9", *FOLDERS]
    args = parser.parse_args(words)
    again = parser.parse_args(shlex.split(parser.origin(args).command)[4:])
    assert vars(again) == vars(args)


BUFFERED = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}


def piped(words, into, **environment):
    """Exit code and errors of `vae WORDS | INTO`."""
    command = f"{shlex.quote(sys.executable)} -m vae {shlex.join(words)} {into}"
    options = {"cwd": ROOT, "env": BUFFERED | environment, "capture_output": True, "text": True}
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], **options)
    return done.returncode, done.stderr


@pytest.mark.parametrize("environment", [{}, {"PYTHONUNBUFFERED": "1"}])
@pytest.mark.parametrize("words", [["provenance"], ["models"], ["--help"], ["--version"], ["view", "--help"]])
def test_a_reader_that_has_had_enough_is_no_error(colour, words, environment):
    """As `vae provenance … | head -1` does."""
    places = {"provenance": "results/models/L3_CNN5_DNN1/seed0", "models": "results"}
    given = [str(colour / places[word]) for word in words if word in places]
    assert piped([*words, *given], "| true", **environment) == (0, "")


def test_output_that_cannot_be_written_is_a_line():
    assert piped(["--version"], "> /dev/full") == (1, "No space left on device\n")
    assert piped(["--version"], ">&-")[0] == 0


def test_the_time_is_written_when_all_is_done_and_not_before(tmp_path):
    done = tmp_path / "done"
    assert main(["export", "--dataset", str(tmp_path / "none.npz"), "--done", str(done), FOLDERS[0]]) == 2
    assert not done.exists()
