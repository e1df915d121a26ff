"""The jobs of a study: which there are, and which files each reads and writes."""

import os
import subprocess
from types import SimpleNamespace

import pytest
import yaml
from conftest import ROOT

from vae.catalogue import FIGURES, STAGES
from vae.config import complete
from vae.provenance import closure
from workflow.lib.jobs import MODEL_STAGES, Jobs, braces

SCHEMA = yaml.safe_load((ROOT / "vae/config.schema.yaml").read_text())
STUDY = {
    "grid": {"latent_sizes": [2, 4], "encoders": ["DNN1", "CNN2"], "decoders": ["DNN1"]},
    "training": {"seeds": [0, 1]},
}


def jobs(results="results", **changes):
    return Jobs(complete(STUDY | changes, SCHEMA), results)


@pytest.mark.parametrize("tune", [{}, {"training.learning_rate": [0.001, 0.01]}])
def test_every_stage_reads_what_others_write(tune):
    """Nothing else, but its code, of which its own module is a part; and no stage reads itself."""
    study = jobs(grid=STUDY["grid"] | {"tune": tune})
    for name, stage in STAGES.items():
        inputs = study.reads(name)
        code = inputs.pop("code")
        assert os.path.relpath(ROOT / f"vae/stages/{name}.py") in code
        assert len(code) == len(closure(name))
        written = set(study.all_done(*MODEL_STAGES)) | {study.done(writer) for writer in MODEL_STAGES}
        for writer in {stage for stage in STAGES if STAGES[stage].of != "model"} - {name}:
            files = study.writes(writer).values()
            if STAGES[writer].of == "pair" and stage.of in ("model", "pair"):
                written |= set(files)  # of the same pair
                continue
            written |= {path.format(encoder=encoder, decoder="DNN1") for path in files for encoder in ("DNN1", "CNN2")}
        assert ("tuning" in inputs) == (bool(tune) and "tune" in stage.reads)
        for paths in inputs.values():
            assert set([paths] if isinstance(paths, str) else paths) <= written, stage


def test_a_job_of_a_pair_writes_a_file_of_every_model_and_last_that_it_is_done():
    outputs = jobs().writes("train")
    assert next(iter(outputs.items())) == ("done", "results/jobs/{encoder}_{decoder}/train")
    assert outputs["metrics"] == [
        f"results/models/L{size}_{{encoder}}_{{decoder}}/seed{seed}/metrics.json" for size in (2, 4) for seed in (0, 1)
    ]


def test_a_job_of_a_model_has_a_latent_size_of_its_own():
    study = jobs(jobs="model")
    assert study.done("export") == "results/jobs/L{latent_size}_{encoder}_{decoder}/export"
    assert len(study.writes("export")["encoder"]) == 2
    assert len(study.all_done("export")) == 4
    assert len(jobs().all_done("export")) == 2


def test_the_models_of_a_job_are_written_in_braces():
    wildcards = SimpleNamespace(latent_size="4", encoder="DNN1", decoder="CNN2")
    assert jobs().models(wildcards, ["results/jobs/DNN1_CNN2/train"]) == "results/models/L{2,4}_DNN1_CNN2/seed{0,1}"
    below = ["a/results/jobs/L4_DNN1_CNN2/train"]
    assert jobs(jobs="model").models(wildcards, below) == "a/results/models/L4_DNN1_CNN2/seed{0,1}"
    assert braces([3]) == "3"  # Bash takes {3} for a name


@pytest.mark.parametrize("results", ["results", "below/results"])
def test_a_job_that_is_done_and_lacks_a_file_is_made_again(tmp_path, monkeypatch, results):
    monkeypatch.chdir(tmp_path)
    study = jobs(results)

    def write(path):
        path = tmp_path / path.replace("results", results, 1).format(encoder="DNN1", decoder="DNN1")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    assert study.lost(None) == []
    for paths in study.writes("train").values():
        for path in [paths] if isinstance(paths, str) else paths:
            write(path)
    assert study.lost(None) == []
    (tmp_path / results / "models/L4_DNN1_DNN1/seed1/metrics.json").unlink()
    (tmp_path / results / "models/L4_DNN1_DNN1/seed1/history.csv").unlink()
    assert study.lost(None) == ["results/models/L4_DNN1_DNN1/seed1/metrics.json"]
    assert study.lost(None, ["quantise"]) == []  # was never asked for


def test_the_figures_wait_for_every_model_and_are_two_files_each():
    study = jobs()
    for stage in ("train", "measure"):
        assert study.reads("figures")[stage] == study.all_done(stage)
    written = [f"results/figures/{name}.{suffix}" for name in study.figures for suffix in ("png", "pdf")]
    assert sorted(study.writes("figures").values()) == sorted(written)


def test_a_figure_of_what_not_every_study_has_is_drawn_where_one_has_it():
    grid = STUDY["grid"] | {"sweep": {"objective.beta": [2]}}
    assert set(FIGURES) - set(jobs().figures) == {"rate_distortion", "loss_decomposition"}
    assert set(FIGURES) - set(jobs(grid=grid).figures) == {"loss_decomposition"}
    assert set(FIGURES) - set(jobs(evaluation={"gap_images": 5}).figures) == {"rate_distortion"}


def test_logs_and_benchmarks_are_named_like_the_job():
    study = jobs()
    assert study.of_stage("logs", "train", ".log") == "results/logs/train/{encoder}_{decoder}.log"
    assert study.of_stage("benchmarks", "figures", ".tsv") == "results/benchmarks/figures.tsv"
    assert study.of_stage("logs", "fidelity", ".log") == "results/logs/fidelity/{encoder}_{decoder}.log"
    assert study.of_stage("logs", "tables", ".log") == "results/logs/tables.log"


def test_the_users_own_data_are_inputs(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").touch()
    (tmp_path / "notes.txt").touch()
    folder = {"dataset": {"name": "mine", "path": str(tmp_path)}}
    assert jobs(**folder).dataset_files() == [str(tmp_path / "train-images-idx3-ubyte")]
    file = {"dataset": {"name": "mine", "path": str(tmp_path / "notes.txt")}}
    assert jobs(**file).dataset_files() == [str(tmp_path / "notes.txt")]
    assert jobs().dataset_files() == []
    (tmp_path / "train/cat").mkdir(parents=True)
    (tmp_path / "train/cat/1.png").touch()
    assert jobs(**folder).pictures() != jobs(**file).pictures() == jobs().pictures() == ""


SWEPT = STUDY["grid"] | {"sweep": {"objective.beta": [2]}}


def test_a_job_writes_a_file_of_every_variant_too():
    wanted = [
        f"results/models/L{size}_{{encoder}}_{{decoder}}{suffix}/seed{seed}/metrics.json"
        for size in (2, 4)
        for suffix in ("", "_beta2")
        for seed in (0, 1)
    ]
    assert jobs(grid=SWEPT).writes("train")["metrics"] == wanted
    of_model = jobs(grid=SWEPT, jobs="model").writes("train")["metrics"]
    assert of_model == [path.replace("L2", "L{latent_size}") for path in wanted[:4]]
    assert jobs(grid=SWEPT).all_done("train") == jobs().all_done("train")


def test_the_models_of_a_sweep_are_written_in_braces():
    wildcards = SimpleNamespace(latent_size="4", encoder="DNN1", decoder="CNN2")
    done = ["results/jobs/DNN1_CNN2/train"]
    folders = jobs(grid=SWEPT).models(wildcards, done)
    assert folders == "results/models/L{2,4}_DNN1_CNN2{,_beta2}/seed{0,1}"
    of_bash = subprocess.run(["bash", "-c", f"echo {folders}"], capture_output=True, text=True, check=True).stdout
    written = jobs(grid=SWEPT).writes("train")["metrics"]
    paths = [path.format(encoder="DNN1", decoder="CNN2").removesuffix("/metrics.json") for path in written]
    assert of_bash.split() == paths
    two = STUDY["grid"] | {"sweep": {"objective.beta": [2], "training.learning_rate": [1e20]}}
    names = jobs(grid=two, jobs="model").models(wildcards, done)
    assert names == "results/models/L4_DNN1_CNN2{,_learning-rate1e+20,_beta2,_beta2_learning-rate1e+20}/seed{0,1}"


def test_a_value_that_is_added_to_a_sweep_is_missing_of_jobs_that_are_done(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for paths in jobs().writes("train").values():
        for path in [paths] if isinstance(paths, str) else paths:
            path = tmp_path / path.format(encoder="DNN1", decoder="DNN1")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    assert jobs().lost(None) == []
    (missing,) = jobs(grid=SWEPT).lost(None)
    assert missing.startswith("results/models/L2_DNN1_DNN1_beta2/seed0/")


def test_training_waits_for_tuning_where_there_is_any():
    tuned = jobs(grid=STUDY["grid"] | {"tune": {"training.learning_rate": [0.001, 0.01]}})
    for stage in ("train", "fidelity"):
        assert "tuning" not in jobs().reads(stage)
        assert tuned.reads(stage)["tuning"] == "results/tuning/{encoder}_{decoder}.json"
    pairs = ("DNN1_DNN1", "CNN2_DNN1")
    assert tuned.reads("tables")["tuning"] == [f"results/tuning/{pair}.json" for pair in pairs]
    assert "tuning" not in jobs().reads("tables")
    assert tuned.of_stage("logs", "tune", ".log") == "results/logs/tune/{encoder}_{decoder}.log"


def test_the_tables_read_what_every_sentinel_of_the_budget_loses():
    """Of some pairs alone; and of none where none is trained for longer."""
    grid = {"latent_sizes": [2, 4], "encoders": ["DNN1", "DNN2", "DNN4"], "decoders": ["DNN1", "DNN2"]}
    study = jobs(grid=grid)
    assert study.reads("tables")["fidelity"] == [f"results/fidelity/{pair}.json" for pair in ("DNN1_DNN1", "DNN4_DNN2")]
    assert study.sentinel(SimpleNamespace(encoder="DNN4", decoder="DNN2")) == "L4_DNN4_DNN2"
    assert "fidelity" not in jobs(grid=grid, evaluation={"budget_fidelity": False}).reads("tables")
    assert len(study.all_done("train")) == 6


def test_what_costs_as_much_as_a_study_is_done_where_the_config_asks_for_it():
    usual = jobs()
    assert not {"gaps", "swap", "control"} & set(usual.reads("tables"))
    assert "gaps" not in usual.model_stages
    asked = jobs(evaluation={"gap_images": 10, "swap": True, "control": True})
    assert "gaps" in asked.model_stages
    assert asked.reads("tables")["gaps"] == asked.all_done("gaps")
    for stage in ("swap", "control"):
        assert asked.reads("tables")[stage] == [f"results/{stage}/{pair}.json" for pair in ("DNN1_DNN1", "CNN2_DNN1")]


def test_the_swap_reads_all_models_of_its_pair():
    change = {"evaluation": {"swap": True}, "training": {"seeds": [0, 3]}}
    for kind, wanted in (("pair", [""]), ("model", ["L2_", "L4_"])):
        study = jobs(jobs=kind, **change)
        before = [f"results/jobs/{size}{{encoder}}_{{decoder}}/train" for size in wanted]
        assert study.reads("swap")["train"] == before
        pair, output = SimpleNamespace(encoder="DNN1", decoder="CNN2"), ["results/swap/DNN1_CNN2.json"]
        assert study.models_of_pair(pair, output) == "results/models/L{2,4}_DNN1_CNN2/seed{0,3}"
