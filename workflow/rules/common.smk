# What the rules ask: which jobs there are, what they take, and which part of the config they depend on.
import getpass
import json
import logging
import os
import shlex
import shutil
import sys

from snakemake.utils import update_config

from vae import config as configuration
from vae import files, grid
from vae.catalogue import ENVIRONMENT, FIGURES, STAGES
from vae.errors import UserError
from workflow.lib import command_line, plan
from workflow.lib.jobs import Jobs
from workflow.lib.locks import WorkingDirectory

# On a full disk Snakemake cannot write its log; the tracebacks of that would bury the line that says so.
logging.raiseExceptions = False
# Snakemake wants a name of the user, which an id in a container may not have.
try:
    getpass.getuser()
except (KeyError, OSError):
    os.environ.update(USER=f"uid{os.getuid()}")
# Where the results are: below the prefix of the module, where another workflow imports this one as such.
RESULTS = workflow.modifier.path_modifier.replace_prefix("results")
SETTINGS = workflow.config_settings


def on_gpu(config):
    """Whether jobs ask for a GPU: where they would find one; with `device: cuda` also where only nodes have any."""
    return config["device"] == "cuda" or (config["device"] == "auto" and shutil.which("nvidia-smi") is not None)


def given_config():
    """The config as files and the command line give it."""
    # A `module` with a config of its own takes nothing of the command line's.
    if not workflow.modifier.skip_configfile:
        update_config(config, command_line.nested(SETTINGS.config_args, SETTINGS.config))
    return config


def promised_gpus():
    """Whether a GPU takes the place of `auto`: a profile declares the resource, and no `--config` names a device.

    A profile's own `config: device=cuda` would be lost with any `--config` that a command has.
    """
    return "gpu" in workflow.resource_scopes and "device" not in SETTINGS.config


def checked_study():
    """The config with its defaults, and what its jobs ask for; what is wrong is refused here, before any job."""
    try:
        complete = configuration.complete(given_config(), configuration.schema())
        if complete["device"] == "auto" and promised_gpus():
            complete["device"] = "cuda"
        grid.expand(complete)
        files.check_writable(RESULTS)
        estimates = plan.estimates(complete, on_gpu(complete)) if workflow.is_main_process else {}
    except UserError as error:
        # Not a WorkflowError, to which Snakemake would add lines of where in this file it was raised.
        sys.exit(f"vae: ERROR: {error}")
    return complete, estimates


config, ESTIMATES = checked_study()
jobs = Jobs(config, RESULTS)
if workflow.is_main_process:
    try:
        WorkingDirectory().take(Path(RESULTS))
    except OSError as error:
        sys.exit(f"vae: ERROR: {error.filename}: {error.strerror}")

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

    def estimated(wildcards):
        return ESTIMATES[stage][f"{wildcards.encoder}_{wildcards.decoder}"] if ESTIMATES else (6000, 240)

    def memory(wildcards, attempt):
        return attempt * estimated(wildcards)[0]

    def minutes(wildcards, attempt):
        return attempt * estimated(wildcards)[1]

    return {"mem_mb": memory, "runtime": minutes} | ({"gpu": 1} if on_gpu(config) and STAGES[stage].gpu else {})


def images_of(key, option="--images"):
    """The option that says how many images something is measured on, none for all."""
    count = config["evaluation"][key]
    return f"{option} {count}" if count else ""


def if_any(name):
    """The option of an input that a job may have: what was tuned for its pair, the file of its families."""

    def option(wildcards, input):
        return f"--{name} {shlex.quote(str(input.get(name)))}" if input.get(name) else ""

    return option


def as_json(*keys, **parts):
    """The part of the config that a stage depends on: changing it, and nothing else of the config, runs it again."""
    whole = {key: config[key] for key in keys}
    return json.dumps(whole | {key: {part: config[key][part] for part in chosen} for key, chosen in parts.items()})
