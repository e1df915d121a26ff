"""Faults that are really made: processes killed, files damaged, disks full; and what the next run makes of it."""

import io
import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import psutil
import pytest
import safetensors
import safetensors.torch
import yaml
from conftest import ENVIRONMENT, away, errors, overlay, snakemake

from vae.cli import main

MODEL = Path("results/models/L2_DNN1_DNN1/seed0")
TARGETS = ["models", "results/tables/models.csv", "results/figures/training_curves.png"]


@pytest.fixture(scope="module")
def finished(checkout, tmp_path_factory):
    """A copy of the checkout in which a study of one model has run, with a figure."""
    copy = tmp_path_factory.mktemp("finished") / "study"
    shutil.copytree(checkout, copy, symlinks=True, ignore=shutil.ignore_patterns("results", ".snakemake"))
    snakemake(*one(copy), cwd=copy)
    return copy


@pytest.fixture
def study(finished, tmp_path):
    """A copy of that copy, and the study in it."""
    return Path(shutil.copytree(finished, tmp_path / "study", symlinks=True))


def one(folder):
    """Arguments of a study of one model."""
    change = {"grid": {"latent_sizes": [2], "encoders": ["DNN1"], "decoders": ["DNN1"]}, "training": {"seeds": [0]}}
    return ["--cores", 2, *overlay(folder, change), "--", *TARGETS]


def table(study):
    """All rows of the table, without what tells the time."""
    rows = pd.read_csv(study / "results/tables/models.csv")
    return rows.drop(columns=["seconds", "images_per_second"])


def same_table(study, other):
    pd.testing.assert_frame_equal(table(study), table(other), check_exact=True)


class Running:
    """Snakemake at work in a folder."""

    def __init__(self, study, *arguments):
        self.output = study / "printed"
        command = [sys.executable, "-m", "snakemake", *map(str, arguments)]
        with open(self.output, "w") as printed:
            self.process = psutil.Popen(command, cwd=study, env=ENVIRONMENT, stdout=printed, stderr=subprocess.STDOUT)

    def job(self, stage):
        """The process of a stage, once there is one."""
        while self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE:
            for child in self.jobs():
                if child.cmdline()[1:4] == ["-m", "vae", stage]:
                    return child
            time.sleep(0.02)
        raise AssertionError(self.output.read_text())

    def jobs(self):
        """The processes of all jobs that run."""
        found = []
        for child in self.process.children(recursive=True):
            try:
                if child.cmdline()[1:3] == ["-m", "vae"]:
                    found.append(child)
            except psutil.NoSuchProcess:
                continue
        return found

    def end(self):
        """Wait for its end; the exit code."""
        return self.process.wait(300)


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
    """Whatever there is of results is whole, but for logs."""
    for path in (study / "results").rglob("*.*"):
        if path.is_file() and path.suffix not in (".log", ".tsv") and not path.name.startswith("."):
            try:
                read_whole(path)
            except FileNotFoundError:
                continue  # taken away by Snakemake, or by a job that replaces it


def epochs(study, model=MODEL):
    """How many epochs of a training that goes on are on disk."""
    try:
        with safetensors.safe_open(study / model / "unfinished.safetensors", "np") as stream:
            return len(json.loads(stream.metadata()["history"]))
    except FileNotFoundError:
        return 0


def test_a_training_that_is_killed_loses_an_epoch_at_most_and_ends_at_the_same_numbers(checkout, tmp_path):
    change = {"training": {"epochs": 8, "images": None}, "dataset": {"path": str(checkout / "tests/mnist")}}
    done = ["--", "results/jobs/DNN1_DNN1/train"]
    for folder in ("whole", "killed"):
        (tmp_path / folder).mkdir()
    snakemake(*away(checkout, tmp_path / "whole", change), *done, cwd=tmp_path / "whole")
    arguments = [*away(checkout, tmp_path / "killed", change), *done]
    running = Running(tmp_path / "killed", *arguments)
    job = running.job("train")
    while epochs(tmp_path / "killed") < 3:
        time.sleep(0.005)
    job.kill()
    assert running.end() == 1
    finished = epochs(tmp_path / "killed")
    assert 3 <= finished < 8
    assert not (tmp_path / "killed" / MODEL / "metrics.json").exists()
    check_whole(tmp_path / "killed")

    snakemake(*arguments, cwd=tmp_path / "killed")
    log = (tmp_path / "killed/results/logs/train/DNN1_DNN1.log").read_text()
    assert f"L2_DNN1_DNN1 seed 0: goes on after epoch {finished}\n" in log
    assert log.count("L2_DNN1_DNN1 seed 0 epoch ") == 8 - finished
    for path in (tmp_path / "whole/results/models").rglob("*.*"):
        again = tmp_path / "killed" / path.relative_to(tmp_path / "whole")
        if path.suffix == ".csv":
            found, wanted = (pd.read_csv(file).drop(columns="seconds") for file in (again, path))
            pd.testing.assert_frame_equal(found, wanted, check_exact=True)
        elif path.name != "provenance.json":
            assert again.read_bytes() == path.read_bytes(), path
    assert not list((tmp_path / "killed").rglob("unfinished.*"))


@pytest.mark.parametrize(
    ("stage", "victim", "gone"),
    [
        ("export", "job", MODEL / "encoder.onnx"),
        ("figure", "job", Path("results/figures/training_curves.png")),
        ("train", "snakemake", MODEL / "weights.safetensors"),
    ],
)
def test_after_a_kill_the_next_run_ends_whole_and_no_file_was_ever_half_written(stage, victim, gone, study, finished):
    (study / gone).unlink()
    running = Running(study, *one(study))
    job = running.job(stage)
    pause = time.monotonic() + random.uniform(0.5, 2.5)
    while time.monotonic() < pause:
        check_whole(study)
    if victim == "job":
        job.kill()
        assert running.end() == 1
    else:
        running.process.kill()
        running.end()
        psutil.wait_procs([job], timeout=60)
    check_whole(study)
    snakemake(*one(study), cwd=study)
    assert (study / gone).exists()
    same_table(study, finished)
    assert "Nothing to be done" in snakemake(*one(study), cwd=study)


def test_what_a_job_writes_that_outlives_its_snakemake_is_not_taken_for_that_of_another_config(study, tmp_path):
    """Snakemake is killed, its job goes on to the end, and then the config is changed."""
    (study / MODEL / "weights.safetensors").unlink()
    running = Running(study, *one(study))
    job = running.job("train")
    running.process.kill()
    running.end()
    psutil.wait_procs([job], timeout=60)
    assert (study / MODEL / "weights.safetensors").exists()
    changed = yaml.safe_load((study / "change.yaml").read_text())
    changed["training"]["learning_rate"] = 0.01
    arguments = ["--cores", 2, *overlay(study, changed), "--", *TARGETS]
    snakemake(*arguments, cwd=study)
    trained = json.loads((study / MODEL / "provenance.json").read_text())["config"]["training"]
    assert trained["learning_rate"] == 0.01


def test_a_second_snakemake_in_the_same_folder_is_refused_and_harms_nothing(study, finished):
    (study / MODEL / "weights.safetensors").unlink()
    running = Running(study, *one(study))
    running.job("train")
    refused = snakemake(*one(study), cwd=study, ok=False)
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
    found = json.loads((study / numbers).read_text()) | {"frechet_distance": float("nan")}
    (study / numbers).write_text(json.dumps(found))
    for table in (study / "results/tables").iterdir():
        table.unlink()
    (line,) = errors(snakemake(*one(study), cwd=study, ok=False))
    assert line.startswith(f"vae: ERROR: {weights}: damaged or replaced since it was written (SHA-256 ")
    assert line.endswith("; delete it and run again")
    (study / weights).unlink()
    snakemake(*one(study), cwd=study)  # samples.json is made of the export, and so again
    same_table(study, finished)


@pytest.fixture
def stages(colour, tmp_path):
    """A copy of a finished study outside of Snakemake, and its stages as functions."""
    root = Path(shutil.copytree(colour, tmp_path / "colour"))

    def run(stage, *arguments):
        return main([stage, *map(str, arguments)])

    return root, root / "models/L3_CNN5_DNN1/seed0", run


@pytest.mark.parametrize(
    ("damaged", "stage", "untouched"),
    [
        ("weights.safetensors", "export", "encoder.onnx"),
        ("weights.safetensors", "likelihood", "likelihood.json"),
        ("encoder.onnx", "latents", "latents.npz"),
        ("decoder.onnx", "latents", "examples.npz"),
        ("encoder.onnx", "quantise", "encoder.int8.onnx"),
        ("latents.npz", "project", "projection.json"),
    ],
)
def test_a_stage_refuses_a_file_with_a_flipped_bit_by_name(damaged, stage, untouched, stages, capsys):
    root, model, run = stages
    flip(model / damaged)
    before = (model / untouched).read_bytes()
    more = ["--samples", 2] if stage == "likelihood" else []
    assert run(stage, "--dataset", root / "dataset.npz", *more, model) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"vae: ERROR: {model / damaged}: ")
    assert (model / untouched).read_bytes() == before


def test_a_dataset_with_a_flipped_bit_is_refused_by_name(stages, capsys):
    root, model, run = stages
    flip(root / "dataset.npz")
    for stage in ("export", "project", "latents"):
        assert run(stage, "--dataset", root / "dataset.npz", model) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"vae: ERROR: {root / 'dataset.npz'}: not a sound .npz")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (r'"kld": ', '"kld": NaN, "before": ', "not valid JSON (holds NaN); delete it and run again"),
        (r'"kld": ', '"kld": -Infinity, "before": ', "not valid JSON (holds -Infinity); delete it and run again"),
        ('"format": 1', '"format": 0', "of this package, in a format that version"),
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
    table, counts = root / "new.csv", root / "counts.csv"
    given = ["--config", root / "config.yaml", "--models", root / "models", "--references", root / "references"]
    assert run("rank", *given, "--table", table, "--counts", counts) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"vae: ERROR: {model / file}: ")
    assert message in line
    assert not table.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": {"learning_rate": 0.5}}, "trained with another training.learning_rate than the study's; delete it"),
        ({"dataset": {"sha256": "0"}}, "trained on other data than the models before it; delete it and run again"),
    ],
)
def test_a_model_of_another_config_or_other_data_is_not_ranked_with_the_others(change, message, stages, capsys):
    root, model, run = stages
    found = json.loads((model / "provenance.json").read_text())
    found["config"]["training"] |= change.get("config", {})
    found["dataset"] |= change.get("dataset", {})
    (model / "provenance.json").write_text(json.dumps(found))
    given = ["--config", root / "config.yaml", "--models", root / "models", "--references", root / "references"]
    assert run("rank", *given, "--table", root / "new.csv", "--counts", root / "counts.csv") == 2
    assert f"{model}/provenance.json: {message}" in capsys.readouterr().err
    assert not (root / "new.csv").exists()


def test_a_dataset_that_was_truncated_after_the_study_is_refused_and_the_results_stay(study, finished):
    file = study / "tests/mnist/train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-100])
    last = snakemake(*one(study), cwd=study, ok=False).splitlines()[-1]
    assert last.startswith("vae: ERROR: tests/mnist/train-images-idx3-ubyte.gz: truncated or not gzip")
    for path in (finished / "results").rglob("*.*"):
        assert (study / path.relative_to(finished)).read_bytes() == path.read_bytes()


def test_a_study_that_is_killed_again_and_again_ends_with_the_same_table(checkout, tmp_path, request):
    """`pytest -k again_and_again --kills 20` takes three minutes."""
    draw = random.Random(0)
    arguments = [*away(checkout, tmp_path, {"dataset": {"path": str(checkout / "tests/mnist")}}), "--keep-going", "--"]
    arguments += ["models", "results/tables/models.csv"]
    kills = 0
    while kills < request.config.getoption("kills"):
        running = Running(tmp_path, *arguments)
        try:
            # Snakemake needs some seconds before its first job.
            assert running.process.wait(draw.uniform(3, 8)) == 0
        except psutil.TimeoutExpired:
            if draw.random() < 0.5 and (jobs := running.jobs()):
                draw.choice(jobs).kill()
            running.process.kill()  # the other jobs go on, as orphans
            running.end()
            kills += 1
        else:
            same_table(tmp_path, checkout)
            shutil.rmtree(tmp_path / "results")
        check_whole(tmp_path)
    snakemake(*arguments, cwd=tmp_path)
    same_table(tmp_path, checkout)
    check_whole(tmp_path)


def test_models_that_diverge_say_so_and_are_left_out_and_counted(checkout, tmp_path):
    """A step that is too long for a code of two dimensions, and not for one of four."""
    change = {
        "training": {"optimizer": "sgd", "learning_rate": 7.0, "seeds": [0]},
        "grid": {"encoders": ["DNN1"]},
        "dataset": {"path": str(checkout / "tests/mnist")},
    }
    targets = ["models", "results/leaderboard.html", "results/figures/kld_ranked.png", "results/tables/claims.csv"]
    snakemake(*away(checkout, tmp_path, change), "--", *targets, cwd=tmp_path)
    rows = pd.read_csv(tmp_path / "results/tables/models.csv")
    assert rows["status"].tolist() == ["ok"] * 2 + ["diverged"] * 2
    diverged = rows[rows["status"] == "diverged"]
    assert set(diverged["latent_size"]) == {2}
    assert diverged[["reconstruction", "kld", "elbo", "probe_accuracy", "frechet_distance"]].isna().all(axis=None)
    assert rows[rows["status"] == "ok"][["reconstruction", "kld"]].notna().all(axis=None)
    counts = pd.read_csv(tmp_path / "results/tables/counts.csv")
    assert counts[counts["value"] == "2"]["top"].tolist() == [0]
    claims = pd.read_csv(tmp_path / "results/tables/claims.csv")
    assert set(claims["architectures"]) == {2}
    assert "2 diverged." in (tmp_path / "results/leaderboard.html").read_text()
    assert (tmp_path / "results/figures/kld_ranked.png").exists()
