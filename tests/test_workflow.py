"""The workflow end to end, on a copy of the checkout so that files may be edited."""

import gzip
import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ENVIRONMENT, ROOT, SAMPLE, away, errors, overlay, own_family, snakemake
from PIL import Image

from vae.catalogue import FIGURES, STAGES
from vae.cli import main
from workflow.lib.jobs import MODEL_STAGES

LABELS = [
    f"L{latent}_{encoder}_{decoder}"
    for latent in (2, 4)
    for encoder in ("DNN1", "CNN2")
    for decoder in ("DNN1", "CNN1")
]
MODEL_FILES = {file for name in MODEL_STAGES for file in STAGES[name].writes.values()}


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
def edit(edited):
    """Append a line to a file of the copy, and take it away after the test."""
    texts = {}

    def append(name, line):
        texts[name] = (edited / name).read_text()
        (edited / name).write_text(texts[name] + line)

    yield append
    for name, text in texts.items():
        (edited / name).write_text(text)


UNKNOWN = """
import pwd

def getpwuid(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")

pwd.getpwuid = getpwuid
"""


@pytest.mark.slow
def test_a_user_without_a_name_has_jobs(tmp_path):
    """As in a container that runs under an id without an entry in passwd; Snakemake itself needs a home."""
    (tmp_path / "sitecustomize.py").write_text(UNKNOWN)  # which every Python that finds it imports
    environment = {
        key: value for key, value in ENVIRONMENT.items() if key not in ("LOGNAME", "USER", "LNAME", "USERNAME")
    }
    options = [
        "--cores",
        "1",
        "--snakefile",
        ROOT / "Snakefile",
        "--config",
        f"dataset={{name: sample, path: {SAMPLE}}}",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "results/data/dataset.npz", *options],
        cwd=tmp_path,
        env=environment | {"HOME": str(tmp_path), "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results/data/dataset.npz").exists()


def test_every_model_has_its_files(checkout):
    for label in LABELS:
        for seed in (0, 1):
            files = {path.name for path in (checkout / "results/models" / label / f"seed{seed}").iterdir()}
            assert files == MODEL_FILES


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


def test_a_second_run_does_nothing(edited):
    assert "Nothing to be done" in snakemake("--cores", 2, "--configfile", "tests/study.yaml", cwd=edited)


def test_touching_a_file_runs_nothing(edited):
    for name in ("vae/models/families.py", "vae/report/figures/losses.py"):
        (edited / name).touch()
    assert planned(cwd=edited) == {}


def test_editing_a_plot_draws_again_and_trains_nothing(edited, edit):
    edit("vae/report/figures/losses.py", "\n# edited\n")
    assert planned(cwd=edited) == {"figures": 1, "page": 1}


def test_editing_a_network_trains_again(edited, edit):
    edit("vae/models/families.py", "\n# edited\n")
    assert planned(cwd=edited)["train"] == 4


@pytest.mark.parametrize(
    "change", [{"training": {"learning_rate": 0.01}}, {"objective": {"beta": 2}}, {"networks": {"hidden_units": 16}}]
)
def test_changing_a_key_that_models_depend_on_trains_again(edited, tmp_path, change):
    assert planned(*overlay(tmp_path, change), cwd=edited)["train"] == 4


def test_changing_what_is_collapsed_ranks_again_and_trains_nothing(edited, tmp_path):
    jobs = planned(*overlay(tmp_path, {"evaluation": {"collapsed_below": 2}}), cwd=edited)
    assert set(jobs) == {"check", "tables", "claims", "page", "figures", "explore"}


def test_adding_an_encoder_trains_only_its_pairs(edited, tmp_path):
    jobs = planned(*overlay(tmp_path, {"grid": {"encoders": ["DNN1", "CNN2", "DNN2"]}}), cwd=edited)
    assert jobs["train"] == jobs["export"] == jobs["measure"] == 2


def test_a_family_of_a_file_trains_its_pairs_alone_and_so_does_a_change_of_the_file(edited, tmp_path):
    file = edited / "my families.py"
    file.write_text(own_family())
    change = {"families": file.name, "grid": {"encoders": ["DNN1", "CNN2", "SKIP2"]}}
    study = overlay(tmp_path, change)
    jobs = planned(*study, cwd=edited)
    assert jobs["train"] == jobs["export"] == jobs["measure"] == 2
    targets = ["--", *(f"results/jobs/{pair}/export" for pair in ("SKIP2_DNN1", "DNN1_DNN1", "CNN2_DNN1"))]
    snakemake("--cores", 2, *study, *targets, cwd=edited)
    made = json.loads((edited / "results/models/L2_SKIP2_DNN1/seed0/provenance.json").read_text())
    assert made["families"]["SKIP"]["path"] == file.name
    assert planned(*study, *targets, cwd=edited) == {}
    file.write_text(own_family() + "\n# edited\n")
    assert planned(*study, *targets, cwd=edited) == {"train": 1, "export": 1}
    file.write_text("nothing")
    (line,) = errors(snakemake("--dry-run", *study, cwd=edited, ok=False))
    assert line == "vae: ERROR: families: my families.py, line 1: NameError: name 'nothing' is not defined"
    shutil.rmtree(edited / "results/jobs/SKIP2_DNN1")


def test_adding_a_seed_trains_every_pair_again(edited, tmp_path):
    jobs = planned(*overlay(tmp_path, {"training": {"seeds": [0, 1, 2]}}), cwd=edited)
    assert jobs["train"] == jobs["export"] == jobs["measure"] == 4


@pytest.mark.parametrize("change", [{"grid": {"latent_sizes": [2]}}, {"grid": {"encoders": ["DNN1"]}}])
def test_a_shorter_grid_computes_nothing_again_for_its_models(edited, tmp_path, change):
    jobs = planned(*overlay(tmp_path, change), cwd=edited)
    assert "tables" in jobs
    assert not set(MODEL_STAGES) & jobs.keys()


@pytest.mark.parametrize(("file", "stage"), [("metrics.json", "train"), ("samples.json", "measure")])
def test_a_deleted_file_of_one_model_is_made_again(edited, tmp_path, file, stage):
    path = edited / "results/models/L4_DNN1_CNN1/seed1" / file
    path.rename(tmp_path / file)
    jobs = planned(cwd=edited)
    (tmp_path / file).rename(path)
    assert jobs[stage] == 1
    assert jobs.keys() >= {"tables", "figures"}
    assert ("export" in jobs) == (stage == "train")


def test_encoders_in_8_bits_are_made_where_they_are_asked_for(edited):
    encoder = edited / "results/models/L4_DNN1_CNN1/seed1/encoder.int8.onnx"
    assert not encoder.exists()
    snakemake("--cores", 2, "--configfile", "tests/study.yaml", "--", encoder.relative_to(edited), cwd=edited)
    assert encoder.exists()
    assert planned("--configfile", "tests/study.yaml", "--", "int8", cwd=edited) == {"quantise": 3, "int8": 1}


def test_a_share_of_the_models_is_one_of_their_jobs(checkout, tmp_path):
    """In another folder, where nothing is done yet; what does not belong to a pair is in every share."""
    study = away(checkout, tmp_path, {"dataset": {"path": str(checkout / "vae/data/mnist_sample")}})
    jobs = planned(*study, "--batch", "models=1/2", "--", "models", cwd=tmp_path)
    assert jobs == dict.fromkeys(MODEL_STAGES, 2) | {"dataset": 1, "classifier": 1}


# What tells the time, the memory or the place; and TorchScript numbers its classes by the exports that a process has
# made before, of which export.json has the hashes.
OF_A_RUN = {"provenance.json", "export.json", "encoder.ts", "decoder.ts"}


def test_one_job_per_model_gives_the_same_models_from_another_directory(checkout, tmp_path):
    """Those of a pair's job that are not its first, to the byte."""
    one_by_one = {
        "jobs": "model",
        "grid": {"encoders": ["CNN2"], "decoders": ["CNN1"], "latent_sizes": [4]},
        "dataset": {"path": str(checkout / "vae/data/mnist_sample")},
    }
    (tmp_path / "vae").mkdir()  # a folder of the package's name must not be taken for it
    (tmp_path / "vae/__init__.py").write_text("raise RuntimeError('wrong package')")
    snakemake(*away(checkout, tmp_path, one_by_one), "--", "models", cwd=tmp_path)
    files = [file for file in tmp_path.glob("results/models/*/*/*") if file.name not in OF_A_RUN | {"history.csv"}]
    files += [tmp_path / "results/data/dataset.npz", *tmp_path.glob("results/baselines/*.*")]
    assert len(files) == 2 * len(MODEL_FILES - OF_A_RUN - {"history.csv"}) + 3
    for file in files:
        assert file.read_bytes() == (checkout / file.relative_to(tmp_path)).read_bytes(), file
    for file in tmp_path.glob("results/models/*/*/history.csv"):
        rows, wanted = (pd.read_csv(path) for path in (file, checkout / file.relative_to(tmp_path)))
        pd.testing.assert_frame_equal(rows.drop(columns="seconds"), wanted.drop(columns="seconds"), check_exact=True)


def test_tables_figures_and_pages_come_out_the_same_again(checkout, tmp_path, monkeypatch):
    """From the same files, to the byte; by the stages themselves, in one process."""
    monkeypatch.chdir(checkout)
    results, tables = Path("results"), tmp_path / "tables"
    table = ["--table", tables / "models.csv"]
    more = [word for name in ("architectures", "counts", "swap") for word in (f"--{name}", tables / f"{name}.csv")]
    budget = ["--fidelity", tables / "fidelity.csv"]
    drawn = [name for name in FIGURES if not FIGURES[name].shows]
    figures = [results / f"figures/{name}.png" for name in drawn if FIGURES[name].on_page]
    decided = [tables / f"{name}.csv" for name in ("claims", "effects", "means", "rate_distortion")]
    commands = [
        ["tables", "--config", results / "config.yaml", "--results", results, *table, *more, *budget],
        ["claims", *table, *budget, "--swap", tables / "swap.csv", *decided],
        ["page", *table, *budget, "--claims", decided[0], "--effects", decided[1], tmp_path / "claims.html", *figures],
        ["explore", "--dataset", results / "data/dataset.npz", "--results", results, tmp_path / "explore.html"],
        ["figures", "--dataset", results / "data/dataset.npz", "--results", results, tmp_path / "figures", *drawn],
    ]
    for command in commands:
        assert main([str(word) for word in command]) == 0
    files = [path for path in tmp_path.rglob("*.*") if path.is_file()]
    assert len(files) == 9 + 2 + 2 * len(drawn)
    for file in files:
        assert file.read_bytes() == (results / file.relative_to(tmp_path)).read_bytes(), file


def test_the_report_holds_every_figure_with_its_own_caption_and_the_pages(edited):
    snakemake("--report", "report.html", "--configfile", "tests/study.yaml", cwd=edited)
    report = (edited / "report.html").read_text()
    shown, _ = json.JSONDecoder().raw_decode(report, report.index('{"results/'))
    pages = {"results/explore.html", "results/claims.html"}
    drawn = {name: figure for name, figure in FIGURES.items() if not figure.shows}
    assert shown.keys() == pages | {f"results/figures/{name}.png" for name in drawn}
    for name, figure in drawn.items():
        caption = re.sub("<.*?>", "", shown[f"results/figures/{name}.png"]["caption"])
        assert html.unescape(caption).split() == figure.caption.split()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": {"epoch": 3}}, "vae: ERROR: training.epoch: unknown key; did you mean 'epochs'?"),
        ({"training": {"epochs": "x"}}, "vae: ERROR: training.epochs: 'x' is not of type 'integer'"),
        ({"grid": {"encoders": []}}, "vae: ERROR: grid.encoders is empty"),
        ({"grid": {"encoders": ["RNN1"]}}, "vae: ERROR: grid.encoders: unknown family RNN"),
        (
            {"grid": {"decoders": ["CNN6"]}},
            "vae: ERROR: grid.decoders: CNN6: too deep; CNN5 is the deepest CNN for images of",
        ),
        (
            {"evaluation": {"gap_images": 501}},
            "vae: ERROR: evaluation.gap_images: 501 are asked for, there are 500 test",
        ),
        (
            {"evaluation": {"gap_images": 200}, "training": {"images": 100}},
            "vae: ERROR: evaluation.gap_images: 200 are asked for, there are 100 training",
        ),
        (
            {"training": {"images": 1835}},
            "vae: ERROR: training.images: 1835 are asked for, the dataset has 1834 training images",
        ),
        ({"dataset": {"name": "mnist"}}, "vae: ERROR: dataset.path: vae/data/mnist_sample is not mnist: train-images"),
        ({"dataset": {"path": "nowhere"}}, "vae: ERROR: nowhere: no such folder or .npz file"),
        ({"dataset": {"name": "mnits", "path": None}}, "vae: ERROR: dataset.name: 'mnits' is not known"),
    ],
)
def test_a_wrong_config_is_refused_in_one_line_before_any_job(edited, tmp_path, change, message):
    printed = snakemake("--cores", 2, *overlay(tmp_path, change), cwd=edited, ok=False).splitlines()
    assert printed[-1].startswith(message)
    assert len(printed) <= 2  # Snakemake itself says that the config is extended by another file


QUICK = ["--snakefile", ROOT / "Snakefile", "--configfile", ROOT / "workflow/studies/quick.yaml"]


@pytest.mark.parametrize(
    ("option", "name", "given", "device"),
    [
        ("--profile", "gpu", "jobs_per_gpu=2", "cuda"),
        ("--workflow-profile", "slurm", "threads=2", "cuda"),
        ("--workflow-profile", "gpu", "device=cpu", "cpu"),
    ],
)
def test_the_device_of_a_profile_stays_beside_a_config_of_the_command_line(option, name, given, device, tmp_path):
    """Snakemake takes the `config` of a command in place of that of a profile; and leaves its nested values text."""
    profile = [option, ROOT / f"workflow/profiles/{name}", "--config", given, 'training={"epochs": 3}']
    printed = snakemake("--dry-run", "--printshellcmds", *QUICK, *profile, "--", "models", cwd=tmp_path)
    assert set(re.findall('"device": "(.*?)"', printed)) == {device}
    assert set(re.findall('"epochs": (.*?),', printed)) == {"3"}


def test_jobs_keep_the_path_of_modules_that_an_environment_has_set_behind_the_checkout(tmp_path):
    """As environment modules of a cluster set it."""
    modules = tmp_path / "mod ules"
    modules.mkdir()
    (modules / "sitecustomize.py").write_text("import os\nopen('seen', 'w').write(os.environ['PYTHONPATH'])\n")
    with patch.dict(ENVIRONMENT, PYTHONPATH=str(modules)):
        snakemake("--cores", 1, *QUICK, "--", "results/data/dataset.npz", cwd=tmp_path)
    assert (tmp_path / "seen").read_text() == f"{ROOT}:{modules}"


def test_a_corrupt_dataset_stops_the_study_with_one_line(checkout, tmp_path):
    shutil.copytree(checkout / "vae/data/mnist_sample", tmp_path / "mnist")
    damaged = tmp_path / "mnist/train-images-idx3-ubyte.gz"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    printed = snakemake(*away(checkout, tmp_path, {"dataset": {"path": "mnist"}}), cwd=tmp_path, ok=False)
    assert printed.splitlines()[-1].startswith("vae: ERROR: mnist/train-images-idx3-ubyte.gz: truncated or not gzip")
    assert len(errors(printed)) == 1
    assert not (tmp_path / "results").exists()


def test_changed_data_is_another_study(checkout, tmp_path):
    shutil.copytree(checkout / "vae/data/mnist_sample", tmp_path / "mnist")
    here = away(checkout, tmp_path, {"dataset": {"path": "mnist"}})
    snakemake(*here, "--", "results/data/dataset.npz", cwd=tmp_path)
    assert "Nothing to be done" in snakemake(*here, "--", "results/data/dataset.npz", cwd=tmp_path)
    labels = gzip.decompress((tmp_path / "mnist/t10k-labels-idx1-ubyte.gz").read_bytes())
    (tmp_path / "mnist/t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels[:-1] + b"\0"))
    assert "Nothing to be done" not in snakemake(*here, "--", "results/data/dataset.npz", cwd=tmp_path)


def test_changed_pictures_are_another_study(checkout, tmp_path):
    for place in range(30):
        picture = tmp_path / f"own/{'train' if place < 20 else 'test'}/class_{place % 3}/{place}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), place * 8 + 9).save(picture)
    config = {"dataset": {"name": "own", "path": "own", "resize": 28}, "training": {"images": None}}
    here = [*away(checkout, tmp_path, config), "--", "results/data/dataset.npz"]
    snakemake(*here, cwd=tmp_path)
    assert "Nothing to be done" in snakemake(*here, cwd=tmp_path)
    Image.new("L", (8, 8), 255).save(tmp_path / "own/train/class_0/0.png")
    assert "Nothing to be done" not in snakemake(*here, cwd=tmp_path)


def test_a_results_folder_that_cannot_be_written_stops_the_study_with_one_line(checkout, tmp_path):
    (tmp_path / "results").write_text("a file where the folder should be")
    sample = {"dataset": {"path": str(checkout / "vae/data/mnist_sample")}}
    printed = snakemake(*away(checkout, tmp_path, sample), cwd=tmp_path, ok=False)
    assert printed.splitlines()[-1] == "vae: ERROR: results: is not writable; check who owns it, and the disk"


@pytest.fixture
def small_disk(tmp_path):
    """A file system that holds the data set, and less than two models beside it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2300k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_stops_the_study_with_a_line_that_names_the_file(checkout, small_disk):
    sample = {"dataset": {"path": str(checkout / "vae/data/mnist_sample")}}
    lines = errors(snakemake(*away(checkout, small_disk, sample), cwd=small_disk, ok=False))
    assert lines
    assert all(re.fullmatch(r"vae: ERROR: results/\S+: No space left on device", line) for line in lines)
    assert not [path for path in small_disk.rglob("results/**/.*") if path.is_file() and path.stat().st_size]


def test_a_disk_that_cannot_be_written_to_is_refused_before_any_job(checkout, small_disk):
    sample = away(checkout, small_disk, {"dataset": {"path": str(checkout / "vae/data/mnist_sample")}})
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    printed = snakemake(*sample, cwd=small_disk, ok=False)
    assert printed.splitlines()[-1].startswith("vae: ERROR: results: is not writable")
    assert "Traceback" not in printed


def test_the_workflow_is_clean(checkout):
    assert "Congratulations, your workflow is in a good condition!" in snakemake("--lint", cwd=checkout)


@pytest.mark.slow
def test_another_workflow_imports_two_studies(tmp_path):
    """The default one and the ELBO, each below a folder of its own."""
    (tmp_path / "Snakefile").write_text(
        "".join(
            f"""
module {name}:
    snakefile: {str(ROOT / snakefile)!r}
    config: {config}
    prefix: {name!r}
use rule * from {name} as {name}_*
"""
            for name, snakefile, config in (
                ("default", "Snakefile", {}),
                ("elbo", "workflow/Snakefile", {"objective": {"reduction": "sum"}}),
            )
        )
        + "rule both:\n    default_target: True\n    input: rules.default_all.input, rules.elbo_all.input\n"
    )
    printed = snakemake("--dry-run", "--printshellcmds", cwd=tmp_path)
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", printed, re.M))
    for name in ("default", "elbo"):
        assert {stage: int(jobs[f"{name}_{stage}"]) for stage in ("dataset", "train", "tables", "figures")} == {
            "dataset": 1, "train": 16, "tables": 1, "figures": 1,
        }  # fmt: skip
        written = f"--done {name}/results/jobs/CNN1_CNN4/train {name}/results/models/L{{25,50,100}}_CNN1_CNN4/seed0"
        assert written in printed
    for training in re.findall(r"python -m vae train .*", printed):
        assert ('"reduction": "sum"' in training) == ("--done elbo/" in training)


def alone(checkout, **parts):
    """The study of the tests for one pair, one latent size and one seed, from the checkout's data."""
    pair = {"encoders": ["DNN1"], "decoders": ["DNN1"], "latent_sizes": [2]}
    return {
        "dataset": {"path": str(checkout / "vae/data/mnist_sample")},
        "grid": pair | parts.pop("grid"),
        "training": {"seeds": [0]},
    } | parts


def test_a_sweep_trains_every_model_in_every_variant_and_compares_architectures_by_the_configs_own(checkout, tmp_path):
    sweep = {"objective.beta": [2], "training.learning_rate": [0.02]}
    change = alone(checkout, grid={"sweep": sweep}, objective={"reduction": "mean", "beta": 1.0})
    swept = [*away(checkout, tmp_path, change), "--", "models", "results/tables/models.csv"]
    snakemake(*swept, cwd=tmp_path)
    tables, models = tmp_path / "results/tables", tmp_path / "results/models"
    rows = pd.read_csv(tables / "models.csv", keep_default_na=False).set_index("label")
    config = yaml.safe_load((tmp_path / "results/config.yaml").read_text())
    usual = config["training"]["learning_rate"]
    wanted = {
        "L2_DNN1_DNN1": ("", 1, usual),
        "L2_DNN1_DNN1_learning-rate0.02": ("learning-rate0.02", 1, 0.02),
        "L2_DNN1_DNN1_beta2": ("beta2", 2, usual),
        "L2_DNN1_DNN1_beta2_learning-rate0.02": ("beta2_learning-rate0.02", 2, 0.02),
    }
    assert {path.name for path in models.iterdir()} == set(wanted) == set(rows.index)
    assert len(rows) == len(wanted)
    for label, (variant, beta, learning_rate) in wanted.items():
        row = rows.loc[label]
        assert (row["variant"], row["objective.beta"], row["training.learning_rate"]) == (variant, beta, learning_rate)
        assert row["effective_beta"] == beta * 784 / 2
        assert {path.name for path in (models / label / "seed0").iterdir()} == MODEL_FILES
        trained = json.loads((models / label / "seed0/provenance.json").read_text())
        assert trained["label"] == label
        assert trained["config"]["objective"]["beta"] == beta
        assert trained["config"]["training"]["learning_rate"] == learning_rate
    assert rows["reconstruction"].nunique() == 4
    # A linear VAE codes less at a larger weight of the KLD.
    assert rows.loc["L2_DNN1_DNN1_beta2", "linear_kld"] <= rows.loc["L2_DNN1_DNN1", "linear_kld"]
    assert pd.read_csv(tables / "architectures.csv")["label"].tolist() == ["L2_DNN1_DNN1"]
    assert pd.read_csv(tables / "fidelity.csv")["label"].tolist() == ["L2_DNN1_DNN1"]
    # The config's own variant is the model that it is without a sweep.
    same = "L2_DNN1_DNN1/seed0/weights.safetensors"
    assert (models / same).read_bytes() == (checkout / "results/models" / same).read_bytes()
    assert "Nothing to be done" in snakemake(*swept, cwd=tmp_path)


def test_a_tuned_study_trains_every_pair_by_the_value_that_was_chosen_for_it(checkout, tmp_path):
    values = [0.0001, 0.003, 0.02]
    change = alone(checkout, grid={"tune": {"training.learning_rate": values}, "latent_sizes": [2, 3]})
    tuned = [*away(checkout, tmp_path, change), "--", "results/tables/models.csv"]
    snakemake(*tuned, cwd=tmp_path)
    choice = json.loads((tmp_path / "results/tuning/DNN1_DNN1.json").read_text())
    assert choice["values"] == values
    assert np.shape(choice["losses"]) == (3, 2)
    assert choice["chosen"] in values
    config = yaml.safe_load((tmp_path / "results/config.yaml").read_text())
    assert config["training"]["learning_rate"] not in values
    rows = pd.read_csv(tmp_path / "results/tables/models.csv")
    assert set(rows["label"]) == {"L2_DNN1_DNN1", "L3_DNN1_DNN1"}
    assert rows["training.learning_rate"].tolist() == [choice["chosen"]] * 2
    assert rows["tuned_at_edge"].tolist() == [choice["at_edge"]] * 2
    for label in rows["label"]:
        trained = json.loads((tmp_path / "results/models" / label / "seed0/provenance.json").read_text())
        assert trained["config"]["training"]["learning_rate"] == choice["chosen"]
    budget = pd.read_csv(tmp_path / "results/tables/fidelity.csv")
    assert budget["label"].tolist() == ["L3_DNN1_DNN1"]
    assert "Nothing to be done" in snakemake(*tuned, cwd=tmp_path)
