"""Faults that are really made: processes killed, files damaged, disks full; and what the next run makes of it."""

import io
import json
import os
import random
import shutil
import signal
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import psutil
import pytest
import safetensors
import safetensors.torch
import starts
import yaml
from conftest import ENVIRONMENT, away, errors, once, overlay, snakemake

from vae import progress
from vae.cli import main

MODEL = Path("results/models/L2_DNN1_DNN1/seed0")
TARGETS = ["models", "results/tables/models.csv", "results/figures/training_curves.png"]


@pytest.fixture(scope="session")
def finished(checkout, tmp_path_factory, worker_id):
    """A copy of the checkout in which a study of one model has run, with a figure."""

    def make(folder):
        away = shutil.ignore_patterns("results", ".snakemake")
        copy = shutil.copytree(checkout, folder / "study", symlinks=True, ignore=away)
        snakemake(*one_model(copy, TARGETS), cwd=copy)

    return once(tmp_path_factory, worker_id, "finished", make) / "study"


@pytest.fixture
def study(finished, tmp_path):
    """A copy of that copy, and the study in it."""
    return Path(shutil.copytree(finished, tmp_path / "study", symlinks=True))


def one_model(folder, targets=TARGETS[:2]):
    """Arguments of a study of one model."""
    change = {"grid": {"latent_sizes": [2], "encoders": ["DNN1"], "decoders": ["DNN1"]}, "training": {"seeds": [0]}}
    change["evaluation"] = {"budget_fidelity": False}
    return ["--cores", 2, *overlay(folder, change), "--", *targets]


def table(study):
    """All rows of the table, by model, without what tells the time and what the others are."""
    rows = pd.read_csv(study / "results/tables/models.csv")
    return rows.drop(columns=["rank", "seconds", "images_per_second"]).set_index(["label", "seed"])


def same_table(study, reference):
    """Whether the models of a study have the same numbers in another, which may have more."""
    rows = table(study)
    assert len(rows)
    pd.testing.assert_frame_equal(rows, table(reference).loc[rows.index], check_exact=True)


def wait_until(condition, seconds=300, pause=0.02):
    """What `condition` returns once that is true; after this many seconds the test fails."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} seconds"
        time.sleep(pause)
    return answer


class Running:
    """Snakemake at work in a folder, with its jobs in a process group of their own, as a shell starts it."""

    def __init__(self, study, *arguments):
        self.folder, self.output = study, study / "printed"
        self.output.touch()
        self.process = starts.start([str(argument) for argument in arguments], study, ENVIRONMENT, self.output)

    def jobs(self, stage=None):
        """The processes of all jobs that run, or of those of a stage."""
        jobs = []
        with suppress(psutil.NoSuchProcess):  # Snakemake has ended
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    words = child.cmdline()
                    if words[1:3] == ["-m", "vae"] and stage in (None, words[3]):
                        jobs.append(child)
        return jobs

    def job(self, stage):
        """The process of a stage, once there is one."""

        def started():
            assert self.process.exitcode is None, self.output.read_text()
            return self.jobs(stage)

        return wait_until(started)[0]

    def send(self, number, target):
        """Send a signal to Snakemake, to its jobs, or to both, as the terminal does on Ctrl-C."""
        if target == "jobs":
            for job in self.jobs():
                with suppress(psutil.NoSuchProcess):
                    job.send_signal(number)
        else:
            with suppress(ProcessLookupError):
                (os.killpg if target == "both" else os.kill)(self.process.pid, number)

    def end(self):
        """Wait for its end; the exit code."""
        self.process.join(300)
        assert self.process.exitcode is not None
        return self.process.exitcode


@pytest.fixture
def start():
    """`Running`, of which nothing outlives the test."""
    started = []

    def begin(study, *arguments):
        started.append(Running(study, *arguments))
        return started[-1]

    yield begin
    for running in started:
        running.process.kill()
        running.end()
        # Jobs outlive a Snakemake that is killed, and are known by the folder, which nothing else works in.
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if Path(process.cwd()) == running.folder:
                    process.kill()


def read_whole(path):
    """Read a file of results to its end; an exception where it is not whole."""
    content = path.read_bytes()
    if path.suffix == ".json":
        json.loads(content)
    elif path.suffix == ".npz":
        with np.load(io.BytesIO(content)) as arrays:
            assert all(arrays[name] is not None for name in arrays.files)
    elif path.suffix == ".onnx":
        onnxruntime.InferenceSession(content)
    elif path.suffix == ".safetensors":
        safetensors.torch.load(content)
    elif path.suffix == ".png":
        assert content.endswith(b"IEND\xaeB`\x82")
    elif path.suffix == ".pdf":
        assert content.rstrip().endswith(b"%%EOF")


def check_whole(study):
    """Whatever there is of results is whole, but for logs; returns how many files that were."""
    count = 0
    for path in (study / "results").rglob("*.*"):
        if path.is_file() and path.suffix not in (".log", ".tsv") and not path.name.startswith("."):
            with suppress(FileNotFoundError):  # removed by Snakemake, or by a job that replaces it
                read_whole(path)
                count += 1
    return count


def epochs(study, model=MODEL):
    """How many epochs of a training that goes on are on disk."""
    try:
        with safetensors.safe_open(study / model / "unfinished.safetensors", "np") as stream:
            return len(json.loads(stream.metadata()["history"]))
    except FileNotFoundError:
        return 0


def training(checkout, folder):
    """Arguments that train the four models of one job in a folder, for some seconds each, one after the other."""
    change = {"training": {"epochs": 8, "images": None}, "dataset": {"path": str(checkout / "vae/data/mnist_sample")}}
    return [*away(checkout, folder, change), "--", "results/jobs/DNN1_DNN1/train"]


@pytest.fixture(scope="session")
def undisturbed(checkout, tmp_path_factory, worker_id):
    """A folder in which that job ran to its end."""
    make = lambda folder: snakemake(*training(checkout, folder), cwd=folder)  # noqa: E731
    return once(tmp_path_factory, worker_id, "undisturbed", make)


@pytest.mark.parametrize(
    ("number", "target"),
    [(signal.SIGKILL, "jobs"), (signal.SIGTERM, "jobs"), (signal.SIGINT, "both"), (signal.SIGKILL, "both")],
    ids=["killed job", "terminated job", "Ctrl-C", "both killed"],
)
def test_a_training_that_is_stopped_loses_an_epoch_at_most_and_ends_at_the_same_numbers(
    number, target, checkout, undisturbed, tmp_path, start
):
    """Both get SIGINT from a terminal's Ctrl-C: Snakemake ends in order, but leaves its marks of unfinished files."""
    second = Path("results/models/L2_DNN1_DNN1/seed1")
    arguments = training(checkout, tmp_path)
    running = start(tmp_path, *arguments)
    wait_until(lambda: epochs(tmp_path, second) >= 3, pause=0.005)
    running.send(number, target)
    assert running.end() != 0
    finished = epochs(tmp_path, second)
    assert 3 <= finished < 8
    # The first model was done, but not the job: Snakemake removes the files of a job that fails, if it is still there.
    assert (tmp_path / MODEL / "weights.safetensors").exists() == (target == "both")
    assert not (tmp_path / second / "metrics.json").exists()
    assert check_whole(tmp_path) > 0

    snakemake(*arguments, cwd=tmp_path)
    log = (tmp_path / "results/logs/train/DNN1_DNN1.log").read_text()
    assert f"L2_DNN1_DNN1 seed 1: resumes after epoch {finished}\n" in log
    assert log.count("L2_DNN1_DNN1 seed 0 epoch ") == 0
    assert log.count("L2_DNN1_DNN1 seed 1 epoch ") == 8 - finished
    files = list((undisturbed / "results/models").rglob("*.*"))
    assert len(files) == 4 * 4
    for path in files:
        again = tmp_path / path.relative_to(undisturbed)
        if path.suffix == ".csv":
            rows, wanted = (pd.read_csv(file).drop(columns="seconds") for file in (again, path))
            pd.testing.assert_frame_equal(rows, wanted, check_exact=True)
        elif path.name != "provenance.json":
            assert again.read_bytes() == path.read_bytes(), path
    assert not list(tmp_path.rglob("unfinished.*"))


@pytest.mark.parametrize(
    ("stage", "victim", "gone", "log"),
    [
        ("export", "job", MODEL / "encoder.onnx", "export/DNN1_DNN1.log"),
        ("figures", "job", Path("results/figures/training_curves.png"), "figures.log"),
        ("train", "snakemake", MODEL / "weights.safetensors", "train/DNN1_DNN1.log"),
    ],
)
def test_after_a_kill_the_next_run_ends_whole_and_no_file_was_ever_half_written(
    stage, victim, gone, log, study, finished, start
):
    arguments = one_model(study, TARGETS if stage == "figures" else TARGETS[:2])
    (study / gone).unlink()
    log = study / "results/logs" / log
    log.unlink()
    running = start(study, *arguments)
    job = running.job(stage)
    # A job opens its log once it has loaded its libraries, and begins its work.
    wait_until(lambda: check_whole(study) and log.exists(), pause=0)
    if victim == "job":
        job.kill()
        assert running.end() == 1
    else:
        running.process.kill()
        running.end()
        psutil.wait_procs([job], timeout=60)
    assert check_whole(study) > 0
    snakemake(*arguments, cwd=study)
    assert (study / gone).exists()
    same_table(study, finished)
    assert "Nothing to be done" in snakemake(*arguments, cwd=study)


def test_after_a_kill_while_snakemake_plans_the_same_command_goes_on(study, finished, start):
    (study / MODEL / "weights.safetensors").unlink()
    running = start(study, *one_model(study))
    locks = study / ".snakemake/locks"
    wait_until(lambda: locks.is_dir() and any(locks.iterdir()), pause=0.001)
    running.process.kill()
    running.end()
    assert any(locks.iterdir())
    snakemake(*one_model(study), cwd=study)
    same_table(study, finished)


def test_what_a_job_writes_that_outlives_its_snakemake_is_not_taken_for_that_of_another_config(study, start):
    """Snakemake is killed, its job goes on to the end, and then the config is changed."""
    (study / MODEL / "weights.safetensors").unlink()
    running = start(study, *one_model(study))
    job = running.job("train")
    running.process.kill()
    running.end()
    psutil.wait_procs([job], timeout=60)
    assert (study / MODEL / "weights.safetensors").exists()
    changed = yaml.safe_load((study / "change.yaml").read_text())
    changed["training"]["learning_rate"] = 0.01
    snakemake("--cores", 2, *overlay(study, changed), "--", "results/jobs/DNN1_DNN1/train", cwd=study)
    trained = json.loads((study / MODEL / "provenance.json").read_text())["config"]["training"]
    assert trained["learning_rate"] == 0.01


def test_a_second_snakemake_in_the_same_folder_is_refused_and_harms_nothing(study, finished, start):
    (study / MODEL / "weights.safetensors").unlink()
    running = start(study, *one_model(study))
    running.job("train")
    refused = snakemake(*one_model(study), cwd=study, ok=False)
    assert f"vae: WARNING: another snakemake, process {running.process.pid}, is at work in this folder" in refused
    assert "Directory cannot be locked" in refused or "The files below seem to be incomplete" in refused
    assert running.end() == 0
    same_table(study, finished)


def flip(path):
    """Change one bit in a file: in the middle, or where an .npz begins with its first array."""
    content = bytearray(path.read_bytes())
    content[300 if path.suffix == ".npz" else len(content) // 2] ^= 1
    path.write_bytes(content)


def test_damaged_files_stop_the_study_by_name_and_are_made_again_when_deleted(study, finished):
    """A bit of the weights, where the export is to be made from them; a number in place of a number of the table."""
    weights, numbers = MODEL / "weights.safetensors", MODEL / "samples.json"
    flip(study / weights)
    (study / MODEL / "encoder.onnx").unlink()
    measures = json.loads((study / numbers).read_text()) | {"frechet_distance": float("nan")}
    (study / numbers).write_text(json.dumps(measures))
    for table in (study / "results/tables").iterdir():
        table.unlink()
    (line,) = errors(snakemake(*one_model(study), cwd=study, ok=False))
    assert line.startswith(f"vae: ERROR: {weights}: damaged or replaced since it was written (SHA-256 ")
    assert line.endswith("; delete it and run again")
    (study / weights).unlink()
    snakemake(*one_model(study), cwd=study)  # samples.json is made of the export, and so again
    same_table(study, finished)


@pytest.fixture
def stages(colour, tmp_path):
    """A copy of a finished study outside of Snakemake, and its stages as functions."""
    root = Path(shutil.copytree(colour, tmp_path / "colour"))

    def run(stage, *arguments):
        return main([stage, *map(str, arguments)])

    return root, root / "results/models/L3_CNN5_DNN1/seed0", run


def tables(root):
    """Arguments that make the tables of a study anew."""
    given = ["--config", root / "config.yaml", "--results", root / "results"]
    written = {
        "table": "new.csv",
        "architectures": "architectures.csv",
        "counts": "counts.csv",
        "fidelity": "fidelity.csv",
        "swap": "swap.csv",
    }
    return given + [part for name, file in written.items() for part in (f"--{name}", root / file)]


@pytest.mark.parametrize(
    ("damaged", "stage", "untouched"),
    [
        ("weights.safetensors", "export", "encoder.onnx"),
        ("weights.safetensors", "measure", "likelihood.json"),
        ("encoder.onnx", "measure", "latents.npz"),
        ("decoder.onnx", "measure", "samples.json"),
        ("encoder.onnx", "quantise", "encoder.int8.onnx"),
        ("latents.npz", "quantise", "encoder.int8.onnx"),
    ],
)
def test_a_stage_refuses_a_file_with_a_flipped_bit_by_name(damaged, stage, untouched, stages, capsys):
    root, model, run = stages
    flip(model / damaged)
    before = (model / untouched).read_bytes()
    classifier = ["--classifier", root / "results/baselines/classifier.npz"]
    more = [*classifier, "--samples", 2, "--likelihood-samples", 2] if stage == "measure" else []
    assert run(stage, "--dataset", root / "dataset.npz", *more, model) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith(f"vae: ERROR: {model / damaged}: ")
    assert (model / untouched).read_bytes() == before


def test_a_dataset_with_a_flipped_bit_is_refused_by_name(stages, capsys):
    root, model, run = stages
    flip(root / "dataset.npz")
    for stage in ("export", "quantise"):
        assert run(stage, "--dataset", root / "dataset.npz", model) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"vae: ERROR: {root / 'dataset.npz'}: not a sound .npz")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (r'"kld": ', '"kld": NaN, "before": ', "not valid JSON (holds NaN); delete it and run again"),
        (r'"kld": ', '"kld": -Infinity, "before": ', "not valid JSON (holds -Infinity); delete it and run again"),
        ('"format": 3', '"format": 0', "of this package, in a format that version"),
        ('"provenance"', '"other"', "written by another version of this package"),
        ("}", "", "not valid JSON"),
    ],
)
@pytest.mark.parametrize("file", ["metrics.json", "provenance.json"])
def test_numbers_that_are_none_or_of_another_version_are_refused_by_name(file, old, new, message, stages, capsys):
    root, model, run = stages
    old, new = (text.replace("kld", "seconds") if file == "provenance.json" else text for text in (old, new))
    text = (model / file).read_text()
    assert old in text
    (model / file).write_text(text.replace(old, new))
    assert run("tables", *tables(root)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"vae: ERROR: {model / file}: ")
    assert message in line
    assert not (root / "new.csv").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": {"learning_rate": 0.5}}, "trained with another training.learning_rate than the study's; delete it"),
        ({"dataset": {"sha256": "0"}}, "trained on other data than the models before it; delete it and run again"),
    ],
)
def test_a_model_of_another_config_or_other_data_is_not_ranked_with_the_others(change, message, stages, capsys):
    root, model, run = stages
    record = json.loads((model / "provenance.json").read_text())
    record["config"]["training"] |= change.get("config", {})
    record["dataset"] |= change.get("dataset", {})
    (model / "provenance.json").write_text(json.dumps(record))
    assert run("tables", *tables(root)) == 2
    assert f"{model}/provenance.json: {message}" in capsys.readouterr().err
    assert not (root / "new.csv").exists()


def test_a_dataset_that_was_truncated_after_the_study_is_refused_and_the_results_stay(study, finished):
    file = study / "vae/data/mnist_sample/train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-100])
    last = snakemake(*one_model(study), cwd=study, ok=False).splitlines()[-1]
    assert last.startswith("vae: ERROR: vae/data/mnist_sample/train-images-idx3-ubyte.gz: truncated or not gzip")
    for path in (finished / "results").rglob("*.*"):
        assert (study / path.relative_to(finished)).read_bytes() == path.read_bytes()


@contextmanager
def noting(*notes):
    """Adds these to what is said of a failure; lists may grow until then."""
    try:
        yield
    except Exception as error:
        error.add_note(" ".join(map(str, notes)))
        raise


def test_a_study_that_is_killed_again_and_again_ends_with_the_same_table(checkout, tmp_path, request, start):
    """Signals come while Snakemake plans, while jobs run, and while it ends because of the signal before.

    `pytest -k again_and_again --kills 20` takes three minutes.
    """
    seed = random.randrange(10**6)
    draw, sent = random.Random(seed), []
    half = {"grid": {"encoders": ["DNN1"]}, "dataset": {"path": str(checkout / "vae/data/mnist_sample")}}
    arguments = [*away(checkout, tmp_path, half), "--keep-going", "--", "models", "results/tables/models.csv"]
    running, disturbed = start(tmp_path, *arguments), False
    with noting("seed", seed, "sent", sent):
        while len(sent) < request.config.getoption("kills"):
            # Snakemake needs some seconds before its first job.
            running.process.join(draw.uniform(0, 9))
            if running.process.exitcode is None:
                number = draw.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
                target = draw.choice(["Snakemake", "jobs", "both"] if running.jobs() else ["Snakemake", "both"])
                running.send(number, target)
                sent.append((number.name, target))
                disturbed = True
            else:
                if not disturbed:
                    assert running.process.exitcode == 0, running.output.read_text()
                    same_table(tmp_path, checkout)
                    shutil.rmtree(tmp_path / "results")
                running, disturbed = start(tmp_path, *arguments), False
            check_whole(tmp_path)
        running.end()
        snakemake(*arguments, cwd=tmp_path)
        same_table(tmp_path, checkout)
        assert check_whole(tmp_path) > 0


def test_the_status_of_a_study_is_right_while_it_runs_after_a_kill_and_after_a_failure(study, start, capsys):
    results, name = study / "results", "DNN1_DNN1"

    def states():
        return {job.stage: state for job, state in progress.read(results).states.items()}

    shutil.rmtree(results / "jobs")
    running = start(study, *one_model(study))
    running.job("train")
    wait_until(lambda: states()["train"] == "running")
    assert main(["status", str(results)]) == 0
    assert f"Snakemake is at work (process {running.process.pid})" in capsys.readouterr().out
    running.send(signal.SIGKILL, "both")
    running.end()
    killed = progress.read(results)
    assert (killed.state, [str(job) for job in killed.interrupted]) == ("stopped", [f"train {name}"])
    assert main(["status", str(results)]) == 1
    snakemake(*one_model(study), cwd=study)
    assert {stage for stage, state in states().items() if state == "waiting"} == {
        "claims",
        "figures",
        "page",
        "explore",
    }
    (study / MODEL / "weights.safetensors").write_bytes(b"damaged")
    (results / f"jobs/{name}/export").unlink()
    capsys.readouterr()
    for quiet in ([], ["--quiet", "rules"]):
        snakemake(*quiet, *one_model(study), cwd=study, ok=False)
        assert main(["status", str(results), "--format", "json"]) == 1
        facts = json.loads(capsys.readouterr().out)
        assert facts["jobs"]["failed"] == 1
        (failed,) = facts["failed"]
        assert failed["log"] == str(results / f"logs/export/{name}.log")
        assert "ERROR results/models/L2_DNN1_DNN1/seed0/weights.safetensors: damaged" in failed["last_line"]
        shutil.rmtree(study / ".snakemake/log")


def test_models_that_diverge_say_so_and_are_left_out_and_counted(checkout, tmp_path):
    """A step that is too long for a code of two dimensions, and not for one of four."""
    change = {
        "training": {
            "optimizer": "sgd",
            "learning_rate": 7.0,
            "warmup": 0,
            "schedule": "constant",
            "gradient_clip": None,
            "scaled_rate": False,
            "antithetic": False,
            "seeds": [0],
        },
        "objective": {"kl_warmup": 0},
        "networks": {"initialisation": "torch"},
        "grid": {"encoders": ["DNN1"], "decoders": ["DNN1"]},
        "dataset": {"path": str(checkout / "vae/data/mnist_sample")},
    }
    targets = ["models", "results/claims.html", "results/tables/claims.csv"]
    snakemake(*away(checkout, tmp_path, change), "--", *targets, cwd=tmp_path)
    rows = pd.read_csv(tmp_path / "results/tables/models.csv")
    assert rows["status"].tolist() == ["ok", "diverged"]
    diverged = rows[rows["status"] == "diverged"]
    assert set(diverged["latent_size"]) == {2}
    assert diverged[["reconstruction", "kld", "elbo", "probe_accuracy", "frechet_distance"]].isna().all(axis=None)
    assert rows[rows["status"] == "ok"][["reconstruction", "kld"]].notna().all(axis=None)
    counts = pd.read_csv(tmp_path / "results/tables/counts.csv")
    assert counts[counts["value"] == "2"]["top"].tolist() == [0]
    claims = pd.read_csv(tmp_path / "results/tables/claims.csv")
    assert claims.set_index("claim").loc["collapse", "rests_on"] == "1 model"
    assert "1 diverged." in (tmp_path / "results/claims.html").read_text()
