# What the rules ask: which jobs there are, what they take, and which part of the config they depend on.
import json
import logging
import os
import shlex
import shutil
import sys
from importlib.util import find_spec

import yaml

from vae import config as configuration
from vae import files, grid
from vae.catalogue import ENVIRONMENT, FIGURES, STAGES
from vae.errors import UserError
from workflow.lib.jobs import Jobs
from workflow.lib.locks import WorkingDirectory

# On a full disk Snakemake cannot write its log; the tracebacks of that would bury the line that says so.
logging.raiseExceptions = False
# Where the results are: below the prefix of the module, where another workflow imports this one as such.
RESULTS = workflow.modifier.path_modifier.replace_prefix("results")


def checked_study():
    """The config with its defaults, and what its jobs will take; what is wrong is refused here, before any job."""
    schema = yaml.safe_load((CHECKOUT / "workflow/schemas/config.schema.yaml").read_text())
    try:
        complete = configuration.complete(config, schema)
        grid.expand(complete)
        files.check_writable(RESULTS)
        budget = None
        # Where Snakemake runs without torch (--sdm conda), the rule `check` makes this check.
        if workflow.is_main_process and find_spec("torch"):
            from vae.data import source
            from vae.measures.gaps import check_images
            from vae.models.vae import check_grid
            from workflow.lib.resources import Budget

            shape, test_images = source.extent(complete["dataset"])
            check_grid(complete, shape[1:])
            trained_on = complete["training"]["images"] or shape[0]
            check_images(complete["evaluation"]["gap_images"], trained_on, test_images)
            budget = Budget(complete, shape, test_images)
    except UserError as error:
        # Not a WorkflowError, to which Snakemake would add lines of where in this file it was raised.
        sys.exit(f"vae: ERROR: {error}")
    return complete, budget


config, BUDGET = checked_study()
jobs = Jobs(config, RESULTS)
if workflow.is_main_process:
    try:
        WorkingDirectory().take(Path(RESULTS))
    except OSError as error:
        sys.exit(f"vae: ERROR: {error.filename}: {error.strerror}")

# Training asks for a GPU where it would find one; `device: cuda` also where only the cluster's nodes have any.
ON_GPU = config["device"] == "cuda" or (config["device"] == "auto" and shutil.which("nvidia-smi") is not None)
CONDA = str(CHECKOUT / "envs/environment.yaml")


wildcard_constraints:
    latent_size=r"[1-9]\d*",
    encoder=grid.NETWORK,
    decoder=grid.NETWORK,


# The jobs' commands find the package of this checkout, whatever directory they run in and whatever else lies there.
shell.prefix(
    f"export PYTHONPATH={shlex.quote(str(CHECKOUT))}${{{{PYTHONPATH:+:$PYTHONPATH}}}} PYTHONSAFEPATH=1"
    f" VAE_JOBS_PER_GPU={config['jobs_per_gpu']} {' '.join(f'{name}={value}' for name, value in ENVIRONMENT.items())}; "
)


def resources_of(stage):
    """MiB and minutes of a stage's jobs, more at every attempt; and whether they take a GPU."""
    models = len(jobs.latent_sizes) * len(jobs.seeds)
    gpu = ON_GPU and STAGES[stage].gpu
    device = "cuda" if gpu else "cpu"

    def memory(wildcards, attempt):
        return attempt * (BUDGET.memory(stage, wildcards.encoder, wildcards.decoder, device) if BUDGET else 6000)

    def minutes(wildcards, attempt):
        pair = wildcards.encoder, wildcards.decoder
        return attempt * (BUDGET.minutes(stage, *pair, models, device) if BUDGET else 240)

    return {"mem_mb": memory, "runtime": minutes} | ({"gpu": 1} if gpu else {})


def images_of(key, option="--images"):
    """The option that says how many images something is measured on, none for all."""
    count = config["evaluation"][key]
    return f"{option} {count}" if count else ""


def tuning_of_pair(wildcards, input):
    """The option that says what was chosen for a pair, where the study tunes."""
    return f"--tuning {input.tuning}" if "tuning" in input.keys() else ""


def as_json(*keys, **parts):
    """The part of the config that a stage depends on: changing it, and nothing else of the config, runs it again."""
    whole = {key: config[key] for key in keys}
    return json.dumps(whole | {key: {part: config[key][part] for part in chosen} for key, chosen in parts.items()})
