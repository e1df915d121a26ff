"""Which locks and marks of Snakemake's a run removes before it begins, by who left them."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest
from snakemake.persistence.file import FilePersistence

from workflow.lib.locks import Process, WorkingDirectory

STATE = Path(".snakemake")
NOTE = STATE / "holders.json"
# The name of the second in base64 is longer than a file's name may be, so Snakemake puts its mark into folders.
RESULTS = {"results/table.csv", f"results/{'long/' * 100}weights.safetensors"}
OUTSIDE = {"outside.txt"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def this():
    return Process.of(psutil.Process())


@pytest.fixture
def running():
    """Another process of this machine, at work."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield psutil.Process(process.pid)
    process.kill()
    process.communicate()


@pytest.fixture
def gone():
    """A process of this machine that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    noted = Process.of(psutil.Process(process.pid))
    process.communicate()
    return noted


@pytest.fixture
def far(this):
    """A process of another machine."""
    return replace(this, node="far")


def leave(*holders, locked=True):
    """Leave what a Snakemake of these holders does in the middle of its work: unfinished files, marks and locks."""
    snakemake = FilePersistence(path=STATE)
    for name in RESULTS | OUTSIDE:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("half of it")
        snakemake._mark_incomplete(name, None)
    if locked:
        snakemake._write_locks("output", RESULTS | OUTSIDE)
    if holders:
        NOTE.write_text(json.dumps({"holders": [asdict(holder) for holder in holders]}))


def take():
    WorkingDirectory(STATE).take(Path("results"))


def holders():
    return [Process(**holder) for holder in json.loads(NOTE.read_text())["holders"]]


def files():
    return {name for name in RESULTS | OUTSIDE if Path(name).exists()}


def marks():
    """The files that Snakemake takes for unfinished."""
    return FilePersistence(path=STATE)._filter_incomplete_keys(RESULTS | OUTSIDE)


def marks_on_disk():
    return [path for path in (STATE / "incomplete").rglob("*") if path.is_file()]


def locks():
    """The files that Snakemake takes for locked."""
    return {name for _, name in FilePersistence(path=STATE)._read_locks()}


def assert_cleared():
    """What is not of the results stays, with its mark, for another workflow may be its maker."""
    assert files() == marks() == OUTSIDE
    assert locks() == set()


def assert_left(locked=True):
    assert files() == marks() == RESULTS | OUTSIDE
    assert locks() == (RESULTS | OUTSIDE if locked else set())


def test_a_first_run_notes_itself(this):
    take()
    assert holders() == [this]


@pytest.mark.parametrize("locked", [True, False], ids=["killed", "interrupted"])
def test_what_a_process_left_that_is_gone_is_removed(locked, gone, this, capsys):
    leave(gone, locked=locked)
    take()
    assert_cleared()
    assert holders() == [this]
    assert capsys.readouterr().err == ""


def test_marks_without_locks_and_without_a_note_are_removed():
    """As they are after an interrupt by a version of this code that took no note."""
    leave(locked=False)
    take()
    assert_cleared()


@pytest.mark.parametrize("locked", [True, False])
def test_a_process_that_is_at_work_is_left_alone_and_told_of(locked, running, this, capsys):
    leave(Process.of(running), locked=locked)
    take()
    assert_left(locked)
    assert holders() == [Process.of(running), this]
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"vae: WARNING: another snakemake, process {running.pid}, is at work in this folder"


def test_a_second_process_is_left_alone_too_once_the_first_is_gone(gone, running, this):
    """The second began beside the first, made other files, and is still at work."""
    leave(gone, Process.of(running))
    take()
    assert_left()
    assert holders() == [Process.of(running), this]


def test_a_process_that_was_given_the_number_of_the_holder_is_not_the_holder(running, this):
    leave(replace(Process.of(running), started=Process.of(running).started - 0.01))
    take()
    assert_cleared()
    assert holders() == [this]


def test_a_process_that_has_ended_is_gone_before_its_parent_asks_for_its_exit_code(running):
    leave(Process.of(running))
    running.kill()
    os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOWAIT)
    assert running.status() == psutil.STATUS_ZOMBIE
    take()
    assert_cleared()


def test_when_a_process_started_is_told_apart_from_what_the_clock_says(running, monkeypatch):
    noted = Process.of(running)
    set_later = psutil.boot_time() + 3600
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: set_later)  # from which psutil has both times
    assert noted.is_alive


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"holders": 1}', '{"holders": [{"pid": 1}]}', "\0" * 100])
def test_a_note_that_is_damaged_is_of_a_process_that_is_gone(content, this):
    """With the power the process ended too."""
    leave()
    NOTE.write_text(content)
    take()
    assert_cleared()
    assert holders() == [this]


def test_what_a_loss_of_power_leaves_of_locks_is_as_if_there_were_none(this):
    """Empty files: of a note, of a lock, of a mark, and what else lies there."""
    leave()
    for path in (NOTE, *STATE.glob("locks/*.lock"), STATE / "locks/holder.json", *marks_on_disk()):
        path.write_text("")
    take()
    assert_cleared()
    assert not (STATE / "locks/holder.json").exists()
    assert holders() == [this]


def test_locks_of_another_machine_stay(far, this, capsys):
    leave(far)
    take()
    assert_left()
    assert holders() == [far, this]
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"vae: WARNING: another snakemake, process {far.pid} of far, may be at work in this folder"


def test_marks_that_another_machine_left_without_locks_are_removed(far, this, capsys):
    leave(far, locked=False)
    take()
    assert_cleared()
    assert holders() == [this]
    assert capsys.readouterr().err == ""


def test_locks_without_a_note_are_of_another_workflow_and_stay():
    leave()
    take()
    assert_left()
    assert not NOTE.exists()


def test_a_workflow_that_is_imported_twice_clears_both_results(gone, this):
    """Snakemake runs the file of rules once for either, in the same process."""
    leave(gone)
    WorkingDirectory(STATE).take(Path("other/results"))
    assert files() == marks() == RESULTS | OUTSIDE
    take()
    assert_cleared()
    assert holders() == [this]


def test_what_is_no_mark_stays(gone):
    leave(gone)
    strays = [STATE / "incomplete" / name for name in ("a", "____", "AAAA")]
    for stray in strays:
        stray.write_text("")
    take()
    assert_cleared()
    assert all(stray.exists() for stray in strays)
