"""How far a study has come, as its files say; tests/test_faults.py has the same of a Snakemake that is killed."""

import json
import os
import platform
import time
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
import yaml
from conftest import ROOT
from snakemake.persistence.file import FilePersistence

from vae import progress
from vae.catalogue import STAGES
from vae.cli import main
from vae.config import complete
from vae.errors import UserError
from workflow.lib.jobs import Jobs
from workflow.lib.locks import Process, WorkingDirectory

SCHEMA = yaml.safe_load((ROOT / "vae/config.schema.yaml").read_text())
GRID = {"latent_sizes": [2, 4], "encoders": ["DNN1", "CNN2"], "decoders": ["DNN1"]}
MORE = {
    "grid": GRID | {"sweep": {"objective.beta": [0.5]}, "tune": {"training.learning_rate": [0.1, 0.2]}},
    "evaluation": {"gap_images": 4, "swap": True, "control": True},
}
SECOND = 10**9


def config(**changes):
    return complete({"grid": GRID, "training": {"seeds": [0, 1]}} | changes, SCHEMA)


class Study:
    """A study in a folder, whose files say what a test wants."""

    def __init__(self, folder, **changes):
        self.folder, self.results = folder, folder / "results"
        self.config = config(**changes)
        self.jobs = {str(job): job for job in progress.jobs(self.config)}
        self.clock = 10**18
        self.write("config.yaml", yaml.safe_dump(self.config))

    def write(self, file, text=""):
        path = self.results / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def finish(self, *names, seconds=60.0):
        """Write all files of jobs, one job after the other."""
        for name in names:
            job, self.clock = self.jobs[name], self.clock + SECOND
            for file in job.files:
                path = self.write(file, str(self.clock) if file == job.files[0] and job.pair else "")
                os.utime(path, ns=(self.clock, self.clock))
            if job.stage == "check":
                self.write("config.yaml", yaml.safe_dump(self.config))
            self.write(job.log, "2026-01-01 00:00:00,000 INFO all is well\n")
            self.write(job.benchmark, f"s\th:m:s\n{seconds}\t0:01:00\n")

    def finish_all(self):
        self.finish(*(name for name, job in self.jobs.items() if not STAGES[job.stage].on_demand))

    def remove(self, name):
        for file in self.jobs[name].files:
            (self.results / file).unlink()

    def begin(self, *names, holder=None, locked=True):
        """Have Snakemake say that it has begun these jobs, this process by default."""
        state = self.folder / ".snakemake"
        snakemake = FilePersistence(path=state)
        for name in names:
            for file in self.jobs[name].files:
                snakemake._mark_incomplete(f"results/{file}", None)
        if locked:
            snakemake._write_locks("output", ["results/config.yaml"])
        note = asdict(holder or Process.of(psutil.Process()))
        (state / "holders.json").write_text(json.dumps({"holders": [note]}))

    def log(self, text, name="2026-01-01T000000.000000.snakemake.log"):
        path = self.folder / ".snakemake/log" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def fail(self, *names, when, again=()):
        """Have Snakemake's log say that these jobs failed, at a time, and which of them it tried again."""
        numbers = {name: number for number, name in enumerate(self.jobs)}
        text = ""
        for name in names:
            text += f"[{time.asctime(time.localtime(when))}]\nError in rule {self.jobs[name].stage}:\n"
            text += f"    message: None\n    jobid: {numbers[name]}\n    input: a, b\n"
            text += (
                f"    log: results/{self.jobs[name].log} (check log file(s) for error details)\n    shell:\n        x\n"
            )
        text += "".join(f"Trying to restart job {numbers[name]}.\n" for name in again)
        self.log(text)

    def read(self):
        return progress.read(self.results)

    def states(self):
        return {str(job): state for job, state in self.read().states.items()}

    def of(self, state):
        return [name for name, found in self.states().items() if found == state]


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


@pytest.fixture
def finished(study):
    study.finish_all()
    return study


GONE = Process(platform.node(), 1, 0.01)
FAR = Process("far", 1, 0.01)
FIRST = ("dataset", "check", "baselines", "classifier", "train DNN1_DNN1")
AFTER = ("tables", "claims", "figures", "page", "explore")


@pytest.mark.parametrize("jobs", ["pair", "model"])
@pytest.mark.parametrize(
    "changes", [{}, MORE, {"evaluation": {"budget_fidelity": False}}], ids=["plain", "more", "less"]
)
def test_the_jobs_are_those_of_the_workflow(changes, jobs):
    """Their names, and all files that each writes."""
    whole = config(jobs=jobs, **changes)
    workflow, found = Jobs(whole), progress.jobs(whole)
    for stage in STAGES.values():
        by_rule = {"study": [{}], "pair": workflow.pairs.get(stage.name), "model": workflow.wildcards}[stage.of]
        by_rule = [] if stage.name in workflow.left_out else by_rule
        wanted = {}
        for wildcards in by_rule:
            listed = [[files] if isinstance(files, str) else files for files in workflow.writes(stage.name).values()]
            log, benchmark = (
                workflow.of_stage(folder, stage.name, suffix).format(**wildcards)
                for folder, suffix in (("logs", ".log"), ("benchmarks", ".tsv"))
            )
            wanted[log, benchmark] = {file.format(**wildcards) for files in listed for file in files}
        got = {
            (f"results/{job.log}", f"results/{job.benchmark}"): {f"results/{file}" for file in job.files}
            for job in found
            if job.stage == stage.name
        }
        assert got == wanted
    for job in found:
        assert (job.files[0] == f"jobs/{job.name}/{job.stage}") == (STAGES[job.stage].of == "model")


def test_a_finished_study_is_done(finished, capsys):
    assert set(finished.states().values()) == {"done"}
    assert main(["status", str(finished.results)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{finished.results}: done; 8 models, 17 jobs; no Snakemake is at work\n")
    assert "left" not in printed


def test_a_copy_of_the_results_is_done_too(finished, tmp_path):
    """Whatever the order in which files were copied, and without what Snakemake keeps."""
    files = sorted(path for path in finished.results.rglob("*") if path.is_file())
    for place, path in enumerate(files):
        os.utime(path, (2e9 - place, 2e9 - place))
    assert set(finished.states().values()) == {"done"}


@pytest.mark.parametrize(
    ("lost", "waiting"),
    [
        ("explore.html", {"explore"}),
        ("tables/models.csv", {*AFTER}),
        ("models/L4_CNN2_DNN1/seed1/encoder.ts", {"export CNN2_DNN1", "measure CNN2_DNN1", *AFTER}),
        ("jobs/CNN2_DNN1/measure", {"measure CNN2_DNN1", *AFTER}),
        ("fidelity/CNN2_DNN1.json", {"fidelity CNN2_DNN1", *AFTER}),
        ("baselines/classifier.json", {"classifier", "measure DNN1_DNN1", "measure CNN2_DNN1", *AFTER}),
    ],
)
def test_what_a_file_that_is_lost_is_needed_for_waits(finished, lost, waiting):
    (finished.results / lost).unlink()
    assert set(finished.of("waiting")) == waiting
    assert finished.read().state == "stopped"


def test_what_was_done_before_a_model_was_trained_again_waits(finished):
    """Of its pair, and of the study; the other pair stays."""
    finished.finish("train DNN1_DNN1")
    assert set(finished.of("waiting")) == {"export DNN1_DNN1", "measure DNN1_DNN1", *AFTER}
    finished.finish("export DNN1_DNN1", "measure DNN1_DNN1", "tables")
    assert set(finished.of("waiting")) == {*AFTER} - {"tables"}


def test_with_jobs_of_models_each_waits_for_its_own(tmp_path):
    study = Study(tmp_path, jobs="model", **MORE)
    study.finish_all()
    assert set(study.states().values()) == {"done"}
    study.finish("train L4_DNN1_DNN1")
    waiting = {f"{stage} L4_DNN1_DNN1" for stage in ("export", "measure", "gaps")}
    assert set(study.of("waiting")) == waiting | {"swap DNN1_DNN1", *AFTER}
    study.remove("tune CNN2_DNN1")
    assert {"train L2_CNN2_DNN1", "train L4_CNN2_DNN1", "fidelity CNN2_DNN1"} < set(study.of("waiting"))


def test_a_running_study_says_which_jobs_run_and_how_long_the_rest_takes(study, capsys):
    study.finish(*FIRST)
    study.begin("train CNN2_DNN1", "fidelity DNN1_DNN1")
    study.log("9 of 9 steps (100%) done\n", name="2025-01-01T000000.000000.snakemake.log")  # of the run before
    study.log("1 of 18 steps (6%) done\n5 of 18 steps (28%) done\n")
    study.log("1 of 1 steps (100%) done\n", name="9999-01-01T000000.000000.snakemake.log")  # inside a job of a cluster
    assert study.of("running") == ["train CNN2_DNN1", "fidelity DNN1_DNN1"]
    assert main(["status", str(study.results), "--format", "json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["state"] == "running"
    assert facts["at_work"] == [f"process {os.getpid()}"]
    assert facts["steps"] == {"done": 5, "all": 18}
    assert facts["jobs"] == {"done": 5, "running": 2, "failed": 0, "waiting": 10}
    assert facts["stages"]["train"] == {"done": 1, "running": 1, "failed": 0, "waiting": 0}
    assert list(facts["stages"])[:4] == ["dataset", "check", "baselines", "classifier"]
    assert [(job["stage"], job["job"]) for job in facts["running"]] == [
        ("train", "CNN2_DNN1"),
        ("fidelity", "DNN1_DNN1"),
    ]
    assert 0 <= facts["seconds_left"] <= 30  # one training of a minute, beside another job
    assert facts["stages_without_times"] == ["fidelity", "export", "measure", *AFTER]
    assert main(["status", str(study.results)]) == 0
    printed = capsys.readouterr().out
    assert f"Snakemake is at work (process {os.getpid()}), 5 of 18 steps of this run done\n" in printed
    assert "running: train CNN2_DNN1, for " in printed
    assert "2 jobs at a time; without fidelity, export" in printed


def test_the_time_that_is_left_is_that_of_jobs_like_it(finished):
    """As a mean over those that succeeded, less what has passed of those that run."""
    finished.finish("train DNN1_DNN1", seconds=100)
    finished.finish("train CNN2_DNN1", "export DNN1_DNN1", seconds=300)
    finished.finish("export CNN2_DNN1", "measure DNN1_DNN1", "measure CNN2_DNN1", *AFTER, seconds=10)
    finished.remove("train CNN2_DNN1")
    finished.remove("train DNN1_DNN1")
    finished.begin("train DNN1_DNN1")
    read = finished.read()
    began = read.began[finished.jobs["train DNN1_DNN1"]]
    assert began in {mark.stat().st_mtime for mark in (finished.folder / ".snakemake/incomplete").iterdir()}
    rest = 2 * 155 + 2 * 10 + 5 * 10  # exports, measures, and what follows
    assert read.seconds_left(began + 50) == (150 + 200 + rest, [])
    assert read.seconds_left(began + 500) == (0 + 200 + rest, [])


@pytest.mark.parametrize(
    ("holder", "locked", "at_work"), [(GONE, True, []), (FAR, True, ["process 1 of far"]), (FAR, False, [])]
)
def test_a_study_whose_snakemake_is_gone_has_stopped(study, capsys, holder, locked, at_work):
    """On another machine it may be at work for as long as there are locks."""
    study.finish(*FIRST)
    study.begin("train CNN2_DNN1", holder=holder, locked=locked)
    state = study.read()
    assert state.at_work == at_work
    assert state.state == ("running" if at_work else "stopped")
    assert [str(job) for job in state.interrupted] == ([] if at_work else ["train CNN2_DNN1"])
    assert main(["status", str(study.results)]) == (0 if at_work else 1)
    assert ("interrupted: 1 of those that wait; run Snakemake again" in capsys.readouterr().out) == (not at_work)


def test_a_job_that_was_interrupted_is_not_done_though_its_files_are_there(finished):
    finished.begin("export CNN2_DNN1", holder=GONE)
    assert set(finished.of("waiting")) == {"export CNN2_DNN1", "measure CNN2_DNN1", *AFTER}


def test_the_processes_are_those_that_the_workflow_notes(study, monkeypatch):
    monkeypatch.chdir(study.folder)
    WorkingDirectory().take(study.results)
    assert study.read().at_work == [f"process {os.getpid()}"]
    assert progress.read(Path("results")).at_work == [f"process {os.getpid()}"]


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"holders": 3}', '{"holders": [{"node": "x"}]}', '{"holders": [3]}'])
def test_a_note_that_is_damaged_says_nothing(study, note):
    study.begin()
    (study.folder / ".snakemake/holders.json").write_text(note)
    (study.folder / ".snakemake/incomplete/no base64").touch()
    assert study.read().state == "stopped"


def test_a_failed_job_is_named_with_its_log_and_the_last_line_of_it(study, capsys):
    study.finish(*FIRST)
    log = study.write("logs/train/CNN2_DNN1.log", "INFO epoch 1\nE ERROR first\nValueError: \x1b[31mlast\n\n")
    study.fail("train CNN2_DNN1", when=time.time())
    assert main(["status", str(study.results), "--format", "json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["state"] == "failed"
    wanted = {"stage": "train", "job": "CNN2_DNN1", "log": str(log), "last_line": "ValueError:  [31mlast"}
    assert facts["failed"] == [wanted]
    assert main(["status", str(study.results)]) == 1
    assert f"failed: train CNN2_DNN1; see {log}\n  ValueError:  [31mlast\n" in capsys.readouterr().out


def test_a_job_that_failed_before_it_logged_anything_is_failed_too(study, capsys):
    study.finish(*FIRST)
    study.fail("train CNN2_DNN1", when=time.time())
    assert main(["status", str(study.results)]) == 1
    assert "  its log is empty; see that of Snakemake, in .snakemake/log\n" in capsys.readouterr().out


def test_an_error_in_its_log_will_do_where_snakemake_logs_none(study):
    """As it is told to by --quiet."""
    study.finish(*FIRST)
    study.write("logs/train/CNN2_DNN1.log", "2026-01-01 00:00:00,000 ERROR no space left\nTraceback\n")
    assert study.of("failed") == ["train CNN2_DNN1"]
    study.write("logs/train/CNN2_DNN1.log", "2026-01-01 00:00:00,000 INFO epoch 1: no ERROR here\n")
    assert study.of("failed") == []


def test_a_failure_counts_until_the_job_is_tried_again_or_has_succeeded(study):
    study.finish(*FIRST)
    now = time.time()
    study.fail("train CNN2_DNN1", when=now, again=["train CNN2_DNN1"])
    study.write("logs/train/CNN2_DNN1.log", "2026-01-01 00:00:00,000 ERROR the first time\n")
    os.utime(study.results / "logs/train/CNN2_DNN1.log", (now, now))
    assert study.of("failed") == []  # Snakemake tries again
    study.fail("train CNN2_DNN1", "train CNN2_DNN1", when=now)
    assert study.of("failed") == ["train CNN2_DNN1"]  # it has tried again, in vain
    study.fail("train CNN2_DNN1", when=now - 1000)
    (study.results / "logs/train/CNN2_DNN1.log").unlink()
    assert study.of("failed") == ["train CNN2_DNN1"]
    study.begin("train CNN2_DNN1")
    assert study.of("running") == ["train CNN2_DNN1"]
    study.finish("train CNN2_DNN1")
    study.remove("train CNN2_DNN1")
    study.begin(holder=GONE)
    (study.folder / ".snakemake/incomplete").rename(study.folder / "elsewhere")
    assert study.of("failed") == []  # its files were lost after it had succeeded


def test_a_failure_of_the_run_before_waits_for_the_snakemake_that_is_at_work(study):
    study.finish(*FIRST)
    study.fail("train CNN2_DNN1", when=time.time() - 1000)
    assert study.of("failed") == ["train CNN2_DNN1"]
    study.begin("fidelity DNN1_DNN1")
    assert study.of("failed") == []
    study.fail("train CNN2_DNN1", when=time.time() + 1)
    assert study.of("failed") == ["train CNN2_DNN1"]
    assert study.read().state == "failed"


def test_what_needs_a_failed_job_waits(finished):
    finished.remove("export DNN1_DNN1")
    finished.fail("export DNN1_DNN1", "measure DNN1_DNN1", when=time.time() + 5)
    assert finished.of("failed") == ["export DNN1_DNN1"]
    assert set(finished.of("waiting")) == {"measure DNN1_DNN1", *AFTER}


def test_stages_on_demand_count_once_they_were_asked_for(finished):
    assert "quantise DNN1_DNN1" not in finished.states()
    finished.finish("quantise DNN1_DNN1")
    assert finished.of("waiting") == ["quantise CNN2_DNN1"]


def test_in_its_first_minute_a_study_has_no_config_yet(study, capsys):
    (study.results / "config.yaml").unlink()
    study.jobs = {name: study.jobs[name] for name in ("dataset", "check")}
    study.begin("dataset")
    assert study.states() == {"dataset": "running", "check": "waiting"}
    assert main(["status", str(study.results)]) == 0
    assert "its config is not checked yet, 2 jobs" in capsys.readouterr().out
    study.write("logs/dataset.log", "2026-01-01 00:00:00,000 ERROR no such file\n")
    study.begin(holder=GONE)
    for mark in (study.folder / ".snakemake/incomplete").iterdir():
        mark.unlink()
    assert study.states() == {"dataset": "failed", "check": "waiting"}


@pytest.mark.parametrize("prefix", ["elbo", f"{'long' * 25}/{'longer' * 20}"])
def test_a_study_below_a_prefix_is_found(tmp_path, prefix):
    """As another workflow has it, which imports this one as a module; marks of long names are in folders."""
    study = Study(tmp_path / prefix)
    study.finish(*FIRST)
    state = tmp_path / ".snakemake"
    snakemake = FilePersistence(path=state)
    for file in study.jobs["train CNN2_DNN1"].files:
        snakemake._mark_incomplete(f"{prefix}/results/{file}", None)
        snakemake._mark_incomplete(f"other/results/{study.jobs['fidelity DNN1_DNN1'].files[0]}", None)
    (state / "holders.json").write_text(json.dumps({"holders": [asdict(Process.of(psutil.Process()))]}))
    assert study.of("running") == ["train CNN2_DNN1"]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: folder.rmdir(), "no such folder"),
        (lambda folder: None, "not the results of a study"),
        (lambda folder: (folder / "results").mkdir(), "did you mean .*/results/results?"),
        (lambda folder: (folder / "config.yaml").write_text("grid: 3"), "not the config of a study"),
        (lambda folder: (folder / "config.yaml").write_text("- 3"), "a mapping of keys is expected"),
        (lambda folder: (folder / "config.yaml").write_text("evaluation: {}\ngrid: {}"), "not the config of a study"),
    ],
)
def test_a_folder_that_is_no_study_is_refused_in_one_line(tmp_path, capsys, make, reason):
    folder = tmp_path / "results"
    folder.mkdir()
    make(folder)
    with pytest.raises(UserError, match=reason):
        progress.read(folder)
    assert main(["status", str(folder)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_nothing_is_written(finished):
    finished.begin("train DNN1_DNN1")

    def entries():
        return {path: path.lstat().st_mtime_ns for path in finished.folder.rglob("*")}

    before = entries()
    for form in ("text", "json"):
        main(["status", str(finished.results), "--format", form])
    assert entries() == before


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (99, "99 s"), (100, "2 min"), (3600, "60 min"), (7260, "2 h 01 min")]
)
def test_durations_are_said_as_people_say_them(seconds, said):
    from vae.tools.status import _duration

    assert _duration(seconds) == said
