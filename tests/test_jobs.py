"""The jobs of a study: which there are, and which files each reads and writes."""

import os
from types import SimpleNamespace

import pytest
import yaml
from conftest import ROOT

from vae.catalogue import FIGURES, STAGES
from vae.config import complete
from vae.provenance import closure
from workflow.lib.jobs import MODEL_STAGES, Jobs, braces

SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
STUDY = {
    "grid": {"latent_sizes": [2, 4], "encoders": ["DNN1", "CNN2"], "decoders": ["DNN1"]},
    "training": {"seeds": [0, 1]},
}


def jobs(results="results", **changes):
    return Jobs(complete(STUDY | changes, SCHEMA), results)


def test_every_stage_reads_what_others_write():
    """Nothing else, but its code, of which its own module is a part; and no stage reads itself."""
    study = jobs()
    for name, stage in STAGES.items():
        inputs = study.reads(name)
        code = inputs.pop("code")
        assert os.path.relpath(ROOT / f"vae/stages/{name}.py") in code
        assert len(code) == len(closure(name))
        written = set(study.all_done(*MODEL_STAGES)) | {study.done(writer) for writer in MODEL_STAGES}
        for writer in {stage for stage in STAGES if STAGES[stage].of != "model"} - {name}:
            written |= {path.format(encoder=encoder, figure="") for path in study.writes(writer).values()
                        for encoder in ("DNN1", "CNN2")}  # fmt: skip
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


def test_a_figure_waits_for_the_stages_that_it_is_drawn_from():
    study = jobs()
    for name, figure in FIGURES.items():
        waits = study.drawn_from(SimpleNamespace(figure=name))
        assert waits == study.all_done(*figure.reads)
    assert any(figure.reads for figure in FIGURES.values())


def test_logs_and_benchmarks_are_named_like_the_job():
    study = jobs()
    assert study.of_stage("logs", "train", ".log") == "results/logs/train/{encoder}_{decoder}.log"
    assert study.of_stage("benchmarks", "figure", ".tsv") == "results/benchmarks/figure/{figure}.tsv"
    assert study.of_stage("logs", "untrained", ".log") == "results/logs/untrained/{encoder}.log"
    assert study.of_stage("logs", "tables", ".log") == "results/logs/tables.log"


def test_the_users_own_data_are_inputs(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").touch()
    (tmp_path / "notes.txt").touch()
    folder = {"dataset": {"name": "mine", "path": str(tmp_path)}}
    assert jobs(**folder).dataset_files() == [str(tmp_path / "train-images-idx3-ubyte")]
    file = {"dataset": {"name": "mine", "path": str(tmp_path / "notes.txt")}}
    assert jobs(**file).dataset_files() == [str(tmp_path / "notes.txt")]
    assert jobs().dataset_files() == []
