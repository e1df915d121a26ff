"""What jobs ask of a scheduler: more for larger models, and more than they take."""

import copy
import re

import pandas as pd
import pytest
import yaml
from conftest import ROOT, snakemake

from vae.catalogue import STAGES
from vae.config import complete
from vae.grid import Network, Spec
from vae.training.memory import needed
from workflow.lib.jobs import MODEL_STAGES
from workflow.lib.resources import BASE, START, Budget

MNIST = (60000, 28, 28)
SCHEMA = yaml.safe_load((ROOT / "vae/config.schema.yaml").read_text())


def budget(shape=MNIST, **changes):
    config = copy.deepcopy(complete({}, SCHEMA))
    for section, change in changes.items():
        config[section] |= change
    return Budget(config, shape, 10000)


def test_memory_has_room_for_the_data_and_the_largest_model():
    usual = budget(grid={"latent_sizes": [2, 50]})
    need = needed(Spec(50, Network("DNN", 4), Network("CNN", 2)), (28, 28), usual.recipes[0], 12000)
    data = 60000 * 28 * 28
    assert usual.memory("train", "DNN4", "CNN2", "cpu") >= BASE["cpu"] + (data + need) / 2**20
    wide = budget(networks={"hidden_units": 4096}).memory("train", "DNN4", "DNN4", "cpu")
    # Weights, gradients, two moments, a snapshot and a copy of six square layers, and of those to the pixels.
    assert wide - BASE["cpu"] > 6 * 4 * (6 * 4096**2 + 2 * 784 * 4096) / 2**20
    assert usual.memory("train", "DNN1", "DNN1", "cuda") > usual.memory("train", "DNN1", "DNN1", "cpu")
    # All 10,000 test images against each other, as double precision.
    every = budget(evaluation={"separability_images": None})
    assert 8 * 10**8 < (every.memory("measure", "DNN1", "DNN1", "cpu") - BASE["cpu"]) * 2**20 < 8 * 10**9
    assert every.memory("train", "DNN1", "DNN1", "cpu") == budget().memory("train", "DNN1", "DNN1", "cpu") < 3000
    drawn = budget(evaluation={"prior_samples": 10**6}).memory("measure", "DNN1", "DNN1", "cpu")
    assert drawn - BASE["cpu"] > 5 * 784 * 10**6 / 2**20


def test_time_grows_with_what_there_is_to_compute():
    usual = budget()
    short, long = (budget(training={"images": 12000, "epochs": epochs}) for epochs in (400, 800))
    twice = [each.minutes("train", "CNN4", "CNN4", 4, "cpu") for each in (short, long)]
    assert twice[1] / twice[0] == pytest.approx(2, rel=0.1)
    assert budget(training={"images": None, "epochs": 400}).minutes("train", "CNN4", "CNN4", 4, "cpu") > 4 * twice[0]
    assert short.minutes("train", "CNN4", "CNN4", 4, "cuda") < twice[0]
    for stage in MODEL_STAGES:
        assert usual.minutes(stage, "DNN1", "DNN1", 400, "cpu") > usual.minutes(stage, "DNN1", "DNN1", 4, "cpu") >= 10
    many = budget(evaluation={"likelihood_samples": 5000})
    assert many.minutes("measure", "DNN1", "DNN4", 4, "cpu") > usual.minutes("measure", "DNN1", "DNN4", 4, "cpu")


def test_jobs_of_the_study_of_the_tests_stay_within_what_they_ask_for(checkout):
    config = complete(yaml.safe_load((ROOT / "tests/study.yaml").read_text()), SCHEMA)
    allowed = Budget(config, (2000, 28, 28), 500)
    for stage in MODEL_STAGES:
        files = sorted((checkout / "results/benchmarks" / stage).glob("*.tsv"))
        assert len(files) == 4
        for file in files:
            # On a cluster, Snakemake itself takes 300 MiB more.
            taken = pd.read_csv(file, sep="\t")["max_rss"].iloc[0] + 300
            assert taken < allowed.memory(stage, *file.stem.split("_"), "cpu")


def test_jobs_ask_for_standard_resources_and_for_a_gpu_where_they_compute_on_one(edited):
    arguments = ["--forceall", "--configfile", "tests/study.yaml", "--config", "device=cuda"]
    printed = snakemake("--dry-run", *arguments, cwd=edited)
    jobs = re.findall(r"^rule (\w+):\n(?:    .*\n)*?    resources: (.*)$", printed, re.M)
    asked = {rule: set(re.findall(r"(\w+)=", resources)) - {"tmpdir"} for rule, resources in jobs}
    assert set(asked) >= set(MODEL_STAGES)
    for stage in MODEL_STAGES:
        more = {"gpu"} if STAGES[stage].gpu else set()
        assert asked[stage] - {"mem", "mem_mib"} == {"mem_mb", "runtime"} | more


@pytest.mark.parametrize("profile", sorted(ROOT.glob("workflow/profiles/*/*")), ids=lambda path: path.parent.name)
def test_every_entry_of_a_profile_has_a_comment(profile):
    text = profile.read_text()
    entries = yaml.safe_load(text)
    assert "config" not in entries  # it would be lost with any `--config`
    assert entries["retries"] >= 1
    assert entries["rerun-incomplete"]
    lines = text.splitlines()
    for key in entries:
        (at,) = (i for i, line in enumerate(lines) if line.startswith(f"{key}:"))
        assert lines[at - 1].startswith("# "), key


def test_a_job_takes_the_time_of_all_its_variants_and_the_memory_of_the_widest():
    usual, two = budget(), budget(grid={"sweep": {"objective.beta": [2]}})
    three = budget(grid={"sweep": {"objective.beta": [2, 3]}})
    for stage in MODEL_STAGES:
        minutes = [each.minutes(stage, "CNN4", "CNN4", 400, "cpu") for each in (usual, two, three)]
        assert minutes == [minutes[0], 2 * minutes[0], 3 * minutes[0]]
        memory = [each.memory(stage, "CNN4", "CNN4", "cpu") for each in (usual, two, three)]
        assert len(set(memory)) == 1
    swept = budget(grid={"sweep": {"networks.hidden_units": [4096, 16]}})
    wide, narrow = (budget(networks={"hidden_units": units}) for units in (4096, 16))
    assert swept.memory("train", "DNN4", "DNN4", "cpu") == wide.memory("train", "DNN4", "DNN4", "cpu")
    assert swept.memory("train", "DNN4", "DNN4", "cpu") > 1.1 * usual.memory("train", "DNN4", "DNN4", "cpu")
    assert swept.minutes("train", "DNN4", "DNN4", 4, "cpu") == sum(
        each.minutes("train", "DNN4", "DNN4", 4, "cpu") for each in (usual, wide, narrow)
    )
    short, long = budget(training={"epochs": 40}), budget(training={"epochs": 400})
    longer = budget(training={"epochs": 40}, grid={"sweep": {"training.epochs": [400]}})
    assert longer.minutes("train", "CNN4", "CNN4", 4, "cpu") == sum(
        each.minutes("train", "CNN4", "CNN4", 4, "cpu") for each in (short, long)
    )


def test_tuning_takes_the_time_of_all_its_trials_and_a_sentinel_of_twice_the_budget():
    usual = budget(training={"epochs": 400}, grid={"latent_sizes": [2]})
    values = {"training.learning_rate": [0.001, 0.003, 0.01]}
    tuned = budget(training={"epochs": 400}, grid={"latent_sizes": [2], "tune": values})
    alone = usual.minutes("train", "CNN4", "CNN4", 1, "cpu") - START
    assert tuned.minutes("tune", "CNN4", "CNN4", 7, "cpu") - START == pytest.approx(3 * alone, abs=3)
    assert usual.minutes("fidelity", "CNN4", "CNN4", 7, "cpu") - START == pytest.approx(2 * alone, abs=2)
    both = budget(training={"epochs": 400}, grid={"latent_sizes": [1, 2], "tune": values})
    assert both.minutes("tune", "CNN4", "CNN4", 7, "cpu") - START == pytest.approx(6 * alone, abs=6)
    # A sweep adds nothing to either.
    swept = budget(
        training={"epochs": 400}, grid={"latent_sizes": [2], "tune": values, "sweep": {"objective.beta": [2]}}
    )
    for stage in ("tune", "fidelity"):
        assert swept.minutes(stage, "CNN4", "CNN4", 7, "cpu") == tuned.minutes(stage, "CNN4", "CNN4", 7, "cpu")
