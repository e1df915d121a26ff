"""The study of the tests through the Slurm profile, on a real Slurm that loses jobs and a node on the way."""

import os
import re
import subprocess
import sys
from collections import defaultdict

import pandas as pd
import pytest
import yaml
from conftest import PATH, ROOT

from vae.catalogue import STAGES

from . import cluster

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1200)]  # it waits for what a scheduler does

TARGETS = ["models", "results/tables/models.csv", "results/figures/training_curves.png"]


@pytest.fixture
def slurm():
    if reason := cluster.missing():
        pytest.skip(reason)
    try:
        cluster.up()
        yield
    finally:
        cluster.down()


def by_rule():
    """The jobs that Slurm knows, by the rule of the workflow that they are of."""
    groups = defaultdict(list)
    for job in cluster.jobs():
        if rule := re.match(rf"rule_({'|'.join(STAGES)})(_|$)", job.get("Comment", "")):
            groups[rule[1]].append(job)
    return groups


def running(*rules):
    """The first job of these rules that runs, None where none does."""
    return next((job for rule in rules for job in by_rule()[rule] if job["JobState"] == "RUNNING"), None)


@pytest.fixture
def study(slurm, checkout, tmp_path):
    """A study of four models that Snakemake runs on Slurm; training has too little memory at the first attempt."""
    # Jobs ask for a GPU where there is this program, and compute on the CPU where torch then finds none.
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/nvidia-smi").write_text("#!/bin/sh\n")
    (tmp_path / "bin/nvidia-smi").chmod(0o755)
    sample = {"path": str(checkout / "vae/data/mnist_sample")}
    change = {"grid": {"encoders": ["DNN1"], "decoders": ["DNN1"]}, "dataset": sample}
    change["evaluation"] = {"budget_fidelity": False}
    (tmp_path / "change.yaml").write_text(yaml.safe_dump(change))
    command = [
        sys.executable, "-m", "snakemake", "--profile", checkout / "workflow/profiles/slurm",
        "--snakefile", checkout / "Snakefile", "--directory", tmp_path,
        "--configfile", ROOT / "tests/study.yaml", tmp_path / "change.yaml", "--config", "device=auto",
        "--set-resources", "train:mem_mb=700*attempt",
        "--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1", "--", *TARGETS,
    ]  # fmt: skip
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{PATH}"}
    with open(tmp_path / "printed", "w") as printed:
        process = subprocess.Popen([str(word) for word in command], env=environment, stdout=printed, stderr=printed)
    yield process
    process.kill()
    process.wait()


def test_a_study_on_slurm_ends_whole_whatever_happens_to_its_jobs(study, checkout, tmp_path):
    def during(*rules):
        assert study.poll() is None, (tmp_path / "printed").read_text()
        return running(*rules)

    cancelled = cluster.until(lambda: during("export"), "export that runs", 300)
    cluster.run("scancel", cancelled["JobId"])
    lost = cluster.until(lambda: during("measure"), "job after the export", 300)
    cluster.run("scontrol", "update", f"NodeName={lost['BatchHost']}", "State=DOWN", "Reason=test")
    on_the_other = cluster.until(lambda: during("tables", "figures"), "job after the loss of a node", 300)
    cluster.run("scontrol", "update", f"NodeName={lost['BatchHost']}", "State=RESUME")
    assert study.wait(600) == 0, (tmp_path / "printed").read_text()
    assert on_the_other["BatchHost"] != lost["BatchHost"]

    jobs = by_rule()
    states = {rule: sorted(job["JobState"] for job in group) for rule, group in jobs.items()}
    whole = {rule: ["COMPLETED"] * count for rule, count in {"dataset": 1, "figures": 1}.items()}
    assert whole.items() <= states.items()
    # The training was ended for its memory once, and had enough the next time.
    assert sorted((job["JobState"], job["MinMemoryNode"]) for job in jobs["train"]) == [
        ("COMPLETED", "1400M"),
        ("FAILED", "700M"),
    ]
    # What was cancelled was submitted again.
    assert states["export"] == ["CANCELLED", "COMPLETED"]
    # What ran on the node went back to the queue.
    again = next(job for group in jobs.values() for job in group if job["JobId"] == lost["JobId"])
    assert (again["JobState"], int(again["Restarts"])) == ("COMPLETED", 1), again
    # Jobs with a GPU, and no others, see one.
    with_gpu = {job["JobId"] for rule, group in jobs.items() if STAGES[rule].gpu for job in group}
    ours = {job["JobId"] for group in jobs.values() for job in group}
    devices = [line.split() for line in (cluster.ROOT / "log/devices").read_text().splitlines()]
    assert {job for job, _ in devices} >= ours
    assert {job for job, device in devices if device != "none"} == with_gpu

    names = [
        "label",
        "seed",
        "status",
        "reconstruction",
        "kld",
        "iwae_bound",
        "probe_accuracy",
        "frechet_distance",
    ]
    here, local = (
        pd.read_csv(folder / "results/tables/models.csv")[names].set_index(["label", "seed"]).sort_index()
        for folder in (tmp_path, checkout)
    )
    assert len(here) == 4
    pd.testing.assert_frame_equal(here, local.loc[here.index], check_exact=True)
