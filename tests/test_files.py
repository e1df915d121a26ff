import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT, SAMPLE

from vae import files
from vae.cli import main
from vae.errors import UserError


def test_a_file_that_fails_halfway_leaves_the_old_one(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    files.write_text(path, "old")

    def fail():
        with files.replacing(path) as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_whoever_reads_during_a_write_reads_the_old_file(tmp_path):
    """The new file takes the old one's name, and never writes into it."""
    files.write_text(tmp_path / "file", "old")
    with open(tmp_path / "file") as reader:
        files.write_text(tmp_path / "file", "new")
        assert reader.read() == "old"
    assert (tmp_path / "file").read_text() == "new"


def test_what_is_written_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    """So that a loss of power leaves no empty file."""
    synchronised = []

    def fsync(number):
        synchronised.append(os.pread(number, 100, 0))
        assert not (tmp_path / "file").exists()

    monkeypatch.setattr(os, "fsync", fsync)
    files.write_text(tmp_path / "file", "all of it")
    assert synchronised == [b"all of it"]


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is(tmp_path):
    files.check_writable(tmp_path / "made" / "later")
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=f"{folder}: is not writable"):
            files.check_writable(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_json_has_no_nan_and_names_itself_when_broken(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"x": float("nan")})
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(UserError, match=r"b\.json: not valid JSON"):
        files.read_json(tmp_path / "b.json")
    assert not (tmp_path / "a.json").exists()


def test_bad_input_is_one_line_and_code_2(tmp_path, capsys):
    config = json.dumps({"dataset": {"name": "mine", "path": str(tmp_path / "nowhere")}})
    assert main(["dataset", "--config", config, str(tmp_path / "dataset.npz")]) == 2
    assert capsys.readouterr().err == f"vae: ERROR: {tmp_path}/nowhere: no such folder or .npz file\n"
    assert not list(tmp_path.iterdir())


def test_an_error_goes_to_the_terminal_and_to_the_log(tmp_path, capsys):
    arguments = [
        "dataset",
        "--config",
        "{}{",
        "--log",
        str(tmp_path / "logs" / "data.log"),
        str(tmp_path / "dataset.npz"),
    ]
    assert main(arguments) == 2
    assert "vae: ERROR: config {}{" in capsys.readouterr().err
    assert "config {}{" in (tmp_path / "logs" / "data.log").read_text()


def test_a_disk_that_takes_no_more_is_one_line_and_code_1(tmp_path):
    """The kernel refuses the write: here by a limit on the size of files, with the same calls as on a full disk."""
    config = json.dumps({"dataset": {"name": "sample", "path": str(SAMPLE)}})
    limit = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (99_999, 99_999)); from vae.cli import main; "
    )
    command = [
        sys.executable,
        "-c",
        limit + "sys.exit(main(sys.argv[1:]))",
        "dataset",
        "--config",
        config,
        "dataset.npz",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "vae: ERROR: dataset.npz: File too large\n"
    assert not list(tmp_path.iterdir())
