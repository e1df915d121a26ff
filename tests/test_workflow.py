"""The workflow end to end, on a copy of the checkout so that files may be edited."""

import gzip
import re
import shutil
import subprocess

import pandas as pd
import pytest
from conftest import away, errors, overlay, snakemake

MODEL_STAGES = {"train", "likelihood", "export", "latents", "project", "sample", "quantise"}
LABELS = [
    f"L{latent}_{encoder}_{decoder}"
    for latent in (2, 4)
    for encoder in ("DNN1", "CNN2")
    for decoder in ("DNN1", "CNN1")
]
MODEL_FILES = {
    "weights.safetensors", "metrics.json", "history.csv", "provenance.json",
    "likelihood.json", "encoder.ts", "decoder.ts", "encoder.onnx", "decoder.onnx", "export.json",
    "latents.npz", "examples.npz", "projection.npz", "projection.json", "samples.json",
    "encoder.int8.onnx", "encoder.int8.json",
}  # fmt: skip


def planned(*arguments, cwd):
    """Number of jobs of each rule that Snakemake would run, without `all`."""
    table = snakemake("--dry-run", *(arguments or ["--configfile", "tests/study.yaml"]), cwd=cwd)
    jobs = (
        re.findall(r"^(\w+) +(\d+)$", table.split("\nJob stats:")[1].split("\ntotal")[0], re.M)
        if "Job stats" in table
        else []
    )
    return {rule: int(count) for rule, count in jobs if rule != "all"}


@pytest.fixture
def edit(checkout):
    """Append a line to a file of the copy, and take it away after the test."""
    edited = {}

    def append(name, line):
        edited[name] = (checkout / name).read_text()
        (checkout / name).write_text(edited[name] + line)

    yield append
    for name, text in edited.items():
        (checkout / name).write_text(text)


def test_every_model_has_its_files(checkout):
    for label in LABELS:
        for seed in (0, 1):
            found = {path.name for path in (checkout / "results/models" / label / f"seed{seed}").iterdir()}
            assert found == MODEL_FILES


def test_the_table_has_a_row_for_every_model(checkout):
    rows = pd.read_csv(checkout / "results/tables/models.csv")
    assert sorted(zip(rows["label"], rows["seed"], strict=True)) == sorted(
        (label, seed) for label in LABELS for seed in (0, 1)
    )
    assert (rows["status"] == "ok").all()
    assert not rows.isna().any(axis=None)
    assert (rows["effective_beta"] == 784 / rows["latent_size"]).all()


def test_the_merged_config_stands_in_the_results(checkout):
    text = (checkout / "results/config.yaml").read_text()
    assert "name: sample" in text
    assert "base_channels: 2" in text
    assert "reduction: mean" in text


def test_a_job_logs_every_model_and_epoch(checkout):
    log = (checkout / "results/logs/train/CNN2_DNN1.log").read_text()
    for model in ("L2_CNN2_DNN1 seed 0", "L2_CNN2_DNN1 seed 1", "L4_CNN2_DNN1 seed 0", "L4_CNN2_DNN1 seed 1"):
        assert f"{model} epoch 1: reconstruction" in log


def test_a_second_run_does_nothing(checkout):
    assert "Nothing to be done" in snakemake("--cores", 2, "--configfile", "tests/study.yaml", cwd=checkout)


def test_touching_a_file_runs_nothing(checkout):
    for name in ("vae/networks.py", "vae/figures.py"):
        (checkout / name).touch()
    assert planned(cwd=checkout) == {}


def test_editing_a_plot_draws_again_and_trains_nothing(checkout, edit):
    edit("vae/figures.py", "\n# edited\n")
    assert planned(cwd=checkout) == {"figure": 12, "page": 1}


def test_editing_a_network_trains_again(checkout, edit):
    edit("vae/networks.py", "\n# edited\n")
    assert planned(cwd=checkout)["train"] == 4


@pytest.mark.parametrize(
    "change", [{"training": {"learning_rate": 0.01}}, {"objective": {"beta": 2}}, {"networks": {"hidden_units": 16}}]
)
def test_changing_a_key_that_models_depend_on_trains_again(checkout, tmp_path, change):
    assert planned(*overlay(tmp_path, change), cwd=checkout)["train"] == 4


def test_changing_what_is_collapsed_ranks_again_and_trains_nothing(checkout, tmp_path):
    jobs = planned(*overlay(tmp_path, {"evaluation": {"collapsed_below": 2}}), cwd=checkout)
    assert set(jobs) == {"study", "rank", "claims", "page", "figure", "leaderboard"}


def test_adding_an_encoder_trains_only_its_pairs(checkout, tmp_path):
    jobs = planned(*overlay(tmp_path, {"grid": {"encoders": ["DNN1", "CNN2", "DNN2"]}}), cwd=checkout)
    assert jobs["train"] == jobs["export"] == jobs["latents"] == jobs["project"] == 2


def test_adding_a_seed_trains_every_pair_again(checkout, tmp_path):
    jobs = planned(*overlay(tmp_path, {"training": {"seeds": [0, 1, 2]}}), cwd=checkout)
    assert jobs["train"] == jobs["quantise"] == jobs["sample"] == 4


@pytest.mark.parametrize("change", [{"grid": {"latent_sizes": [2]}}, {"grid": {"encoders": ["DNN1"]}}])
def test_a_shorter_grid_computes_nothing_again_for_its_models(checkout, tmp_path, change):
    jobs = planned(*overlay(tmp_path, change), cwd=checkout)
    assert "rank" in jobs
    assert not MODEL_STAGES & jobs.keys()


@pytest.mark.parametrize(("file", "stage"), [("metrics.json", "train"), ("samples.json", "sample")])
def test_a_deleted_file_of_one_model_is_made_again(checkout, tmp_path, file, stage):
    path = checkout / "results/models/L4_DNN1_CNN1/seed1" / file
    path.rename(tmp_path / file)
    jobs = planned(cwd=checkout)
    (tmp_path / file).rename(path)
    assert jobs[stage] == 1
    assert jobs.keys() >= {"rank", "figure"}
    assert ("export" in jobs) == (stage == "train")


def test_editing_the_quantisation_quantises_again_and_nothing_else(checkout, edit):
    edit("export/quantise.py", "\n# edited\n")
    assert planned(cwd=checkout) == {"quantise": 4}


def test_a_share_of_the_models_is_one_of_their_jobs(checkout, tmp_path):
    """In another folder, where nothing is done yet; what does not belong to a pair is in every share."""
    study = away(checkout, tmp_path, {"dataset": {"path": str(checkout / "tests/mnist")}})
    jobs = planned(*study, "--batch", "models=1/2", "--", "models", cwd=tmp_path)
    assert jobs == dict.fromkeys(MODEL_STAGES, 2) | {"data": 1, "classifier": 1}


def test_one_job_per_model_gives_the_same_bytes_from_another_directory(checkout, tmp_path):
    """All of the study again, but for what tells the time, the memory or the place."""
    one_by_one = {"jobs": "model", "dataset": {"path": str(checkout / "tests/mnist")}}
    (tmp_path / "vae").mkdir()  # a folder of the package's name must not be taken for it
    (tmp_path / "vae/__init__.py").write_text("raise RuntimeError('wrong package')")
    snakemake(*away(checkout, tmp_path, one_by_one), cwd=tmp_path)
    own = {"provenance.json", "export.json", "leaderboard.html", "config.yaml", "dataset.json"}
    compared = 0
    for file in (checkout / "results").rglob("*.*"):
        again = tmp_path / file.relative_to(checkout)
        if file.suffix == ".csv":
            first, second = (pd.read_csv(path) for path in (file, again))
            times = [column for column in first if "second" in column]
            pd.testing.assert_frame_equal(first.drop(columns=times), second.drop(columns=times), check_exact=True)
        # TorchScript numbers its classes by the exports that a process has made before; export.json has its hashes.
        elif file.name not in own and file.suffix not in (".log", ".tsv", ".ts"):
            assert file.read_bytes() == again.read_bytes(), file
            compared += 1
    assert compared == 1 + 5 + 1 + 24 + 16 * (len(MODEL_FILES) - 5)  # data, references, page, figures, models


def test_the_report_holds_every_figure_and_the_leaderboard(checkout):
    snakemake("--report", "report.html", "--configfile", "tests/study.yaml", cwd=checkout)
    report = (checkout / "report.html").read_text()
    for path in (checkout / "results/figures").glob("*.png"):
        assert f"results/figures/{path.name}" in report
    assert "results/leaderboard.html" in report
    assert "results/claims.html" in report


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": {"epoch": 3}}, "vae: ERROR: training.epoch: unknown key; did you mean 'epochs'?"),
        ({"training": {"epochs": "x"}}, "vae: ERROR: training.epochs: 'x' is not of type 'integer'"),
        ({"grid": {"encoders": []}}, "vae: ERROR: grid.encoders is empty"),
        ({"grid": {"encoders": ["RNN1"]}}, "vae: ERROR: grid.encoders: RNN1: unknown family RNN"),
        (
            {"grid": {"decoders": ["CNN6"]}},
            "vae: ERROR: grid.decoders: CNN6: too deep; CNN5 is the deepest CNN for images of",
        ),
        ({"dataset": {"path": "nowhere"}}, "vae: ERROR: nowhere: no such folder or .npz file"),
        ({"dataset": {"name": "mnits", "path": None}}, "vae: ERROR: dataset.name: 'mnits' is not known"),
    ],
)
def test_a_wrong_config_is_refused_in_one_line_before_any_job(checkout, tmp_path, change, message):
    printed = snakemake("--cores", 2, *overlay(tmp_path, change), cwd=checkout, ok=False).splitlines()
    assert printed[-1].startswith(message)
    assert len(printed) <= 2  # Snakemake itself says that the config is extended by another file


def test_a_corrupt_dataset_stops_the_study_with_one_line(checkout, tmp_path):
    shutil.copytree(checkout / "tests/mnist", tmp_path / "mnist")
    damaged = tmp_path / "mnist/train-images-idx3-ubyte.gz"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    printed = snakemake(*away(checkout, tmp_path, {"dataset": {"path": "mnist"}}), cwd=tmp_path, ok=False)
    assert printed.splitlines()[-1].startswith("vae: ERROR: mnist/train-images-idx3-ubyte.gz: truncated or not gzip")
    assert len(errors(printed)) == 1
    assert not (tmp_path / "results").exists()


def test_changed_data_is_another_study(checkout, tmp_path):
    shutil.copytree(checkout / "tests/mnist", tmp_path / "mnist")
    here = away(checkout, tmp_path, {"dataset": {"path": "mnist"}})
    snakemake(*here, "--", "results/data/dataset.npz", cwd=tmp_path)
    assert "Nothing to be done" in snakemake(*here, "--", "results/data/dataset.npz", cwd=tmp_path)
    labels = gzip.decompress((tmp_path / "mnist/t10k-labels-idx1-ubyte.gz").read_bytes())
    (tmp_path / "mnist/t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels[:-1] + b"\0"))
    assert "Nothing to be done" not in snakemake(*here, "--", "results/data/dataset.npz", cwd=tmp_path)


def test_a_results_folder_that_cannot_be_written_stops_the_study_with_one_line(checkout, tmp_path):
    (tmp_path / "results").write_text("a file where the folder should be")
    sample = {"dataset": {"path": str(checkout / "tests/mnist")}}
    printed = snakemake(*away(checkout, tmp_path, sample), cwd=tmp_path, ok=False)
    assert printed.splitlines()[-1] == "vae: ERROR: results: cannot be written to; check who owns it, and the disk"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of two megabytes, which holds less than the data set and two models."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_stops_the_study_with_a_line_that_names_the_file(checkout, small_disk):
    sample = {"dataset": {"path": str(checkout / "tests/mnist")}}
    lines = errors(snakemake(*away(checkout, small_disk, sample), cwd=small_disk, ok=False))
    assert lines
    assert all(re.fullmatch(r"vae: ERROR: results/\S+: No space left on device", line) for line in lines)
    assert not [path for path in small_disk.rglob("results/**/.*") if path.is_file() and path.stat().st_size]


def test_a_disk_that_cannot_be_written_to_is_refused_before_any_job(checkout, small_disk):
    sample = away(checkout, small_disk, {"dataset": {"path": str(checkout / "tests/mnist")}})
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    printed = snakemake(*sample, cwd=small_disk, ok=False)
    assert printed.splitlines()[-1].startswith("vae: ERROR: results: cannot be written to")
    assert "Traceback" not in printed


def test_the_workflow_is_clean(checkout):
    assert "Congratulations, your workflow is in a good condition!" in snakemake("--lint", cwd=checkout)
