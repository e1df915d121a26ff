# What the rules share: the checked config, the paths of a model's files, and which package files each stage depends on.
import json
import logging
import os
import platform
import shlex
import shutil
import sys
from base64 import urlsafe_b64decode
from glob import escape, glob
from importlib.util import find_spec
from itertools import islice

import psutil
import yaml

# On a full disk Snakemake cannot write its log; the tracebacks of that would bury the line that says so.
logging.raiseExceptions = False

sys.path.insert(0, str(workflow.basedir))

from vae import files, grid, study
from vae.errors import UserError


def checked_study():
    """The config with its defaults, and what its jobs will take; what is wrong is refused here, before any job."""
    schema = yaml.safe_load((Path(workflow.basedir) / "workflow/schemas/config.schema.yaml").read_text())
    try:
        complete = study.complete(config, schema)
        grid.expand(complete["grid"])
        files.check_writable("results")
        budget = None
        # Where Snakemake runs without torch (--sdm conda), the rule `study` makes this check.
        if workflow.is_main_process and find_spec("torch"):
            from vae import data
            from vae.budget import Budget

            shape, test_images = data.extent(complete["dataset"])
            study.check(complete, shape[1:])
            budget = Budget(complete, shape, test_images)
    except UserError as error:
        # Not a WorkflowError, to which Snakemake would add lines of where in this file it was raised.
        sys.exit(f"vae: ERROR: {error}")
    return complete, budget


def clear_after_a_kill():
    """Take away the locks of a Snakemake that was killed on this machine, which would stand in the way of the next.

    What its jobs have written goes with its marks of incomplete files: they may have gone on, under another config.
    """
    if not HOLDER.exists():
        return
    holder = json.loads(HOLDER.read_text())
    if holder["node"] != platform.node():
        return
    if is_snakemake(holder["pid"]):
        # Snakemake may say first that there are incomplete files, and advise to make them again.
        print(f"vae: WARNING: another snakemake, process {holder['pid']}, is at work in this folder", file=sys.stderr)
    else:
        for mark in [path for path in INCOMPLETE.rglob("*") if path.is_file()]:
            # Named by the file in base64; parts of a long name are folders that begin with @.
            name = "".join(part.removeprefix("@") for part in mark.relative_to(INCOMPLETE).parts)
            path = Path(urlsafe_b64decode(name).decode())
            if path.resolve().is_relative_to(Path("results").resolve()):
                path.unlink(missing_ok=True)
        shutil.rmtree(INCOMPLETE, ignore_errors=True)
        shutil.rmtree(HOLDER.parent, ignore_errors=True)


def is_snakemake(pid):
    """Whether there is another process, of this number, that is Snakemake."""
    try:
        return pid != os.getpid() and "snakemake" in " ".join(psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return False


# Who holds Snakemake's locks, as noted when a run starts; and Snakemake's marks of files that a job has not finished.
HOLDER, INCOMPLETE = Path(".snakemake/locks/holder.json"), Path(".snakemake/incomplete")
config, BUDGET = checked_study()
if workflow.is_main_process:
    clear_after_a_kill()
SEEDS = config["training"]["seeds"]
ENCODERS = config["grid"]["encoders"]

# What models are held against: the pixels, their components and the linear theory; untrained encoders; a classifier.
REFERENCES = [
    "results/references/pixels.json",
    "results/references/classifier.json",
    *(f"results/references/untrained/{encoder}.json" for encoder in ENCODERS),
]

# Every figure, by the report's category and in the order of the report.
CATEGORIES = {
    "collapse_atlas": "0 Claims",
    "effect_sizes": "0 Claims",
    "kld_ranked": "2 Losses",
    "reconstruction_ranked": "2 Losses",
    "reconstruction_top_quartile": "2 Losses",
    "top_quartile_counts": "3 Architectures",
    "top_quartile_counts_by_latent_size": "3 Architectures",
    "pca_top_quartile": "4 Latent spaces",
    "pca_top_half": "4 Latent spaces",
    "reconstructions": "5 Images",
    "prior_samples": "5 Images",
    "training_curves": "6 Training",
}
FIGURES = list(CATEGORIES)
# Those that the page of claims shows.
SHOWN = [figure for figure in FIGURES if CATEGORIES[figure] in ("0 Claims", "2 Losses", "3 Architectures")]
SHOWN += ["pca_top_quartile", "pca_top_half"]
# The stages whose files a figure is drawn from beside the table.
DRAWN_FROM = {
    "collapse_atlas": ["train"],
    "pca_top_quartile": ["project"],
    "pca_top_half": ["project"],
    "reconstructions": ["latents"],
    "prior_samples": ["latents"],
    "training_curves": ["train"],
}

# What is done with every model.
STAGES = ["train", "likelihood", "export", "latents", "project", "sample", "quantise"]
# A job's models share its wildcards: a pair's job has every latent size, and either kind has every seed.
JOB = {"pair": "{encoder}_{decoder}", "model": "L{latent_size}_{encoder}_{decoder}"}[config["jobs"]]
LATENT_SIZES = config["grid"]["latent_sizes"] if config["jobs"] == "pair" else ["{latent_size}"]
# The wildcards of every job; those of a pair's have no latent size.
JOBS = [
    {"latent_size": latent_size, "encoder": encoder, "decoder": decoder}
    for latent_size in ([None] if config["jobs"] == "pair" else config["grid"]["latent_sizes"])
    for encoder in ENCODERS
    for decoder in config["grid"]["decoders"]
]
# Training asks for a GPU where it would find one; `device: cuda` also where only the cluster's nodes have any.
ON_GPU = config["device"] == "cuda" or (config["device"] == "auto" and shutil.which("nvidia-smi") is not None)
ENVIRONMENT = f"{workflow.basedir}/envs/environment.yaml"


wildcard_constraints:
    latent_size=r"[1-9]\d*",
    encoder=grid.NETWORK,
    decoder=grid.NETWORK,
    figure="|".join(FIGURES),


# The jobs' commands find the package of this checkout, whatever directory they run in and whatever else lies there.
# Memory in large pages, where the C library offers it, spares training hundreds to thousands of page faults a step.
shell.prefix(
    f"export PYTHONPATH={shlex.quote(str(workflow.basedir))} PYTHONSAFEPATH=1"
    f" GLIBC_TUNABLES=glibc.malloc.hugetlb=1 VAE_JOBS_PER_GPU={config['jobs_per_gpu']}; "
)


def of_job(file):
    """The pattern of a file of every model of a job."""
    return expand(
        f"results/models/{grid.FOLDER}/{file}",
        latent_size=LATENT_SIZES,
        encoder="{encoder}",
        decoder="{decoder}",
        seed=SEEDS,
    )


def done(stage):
    """The pattern of the file that a stage's job writes last; the next stage waits for it.

    Were it to wait for the files of every model, what Snakemake does would grow with the square of a job's models. The
    file holds the time, as Snakemake takes a file with the same content for the same file. Stages lie below the job, as
    --batch divides sorted paths.
    """
    return f"results/jobs/{JOB}/{stage}"


def memory(stage):
    """MiB of the jobs of a stage, more at every attempt."""

    def ask(wildcards, attempt):
        pair = wildcards.encoder, wildcards.decoder
        return attempt * (BUDGET.memory(stage, *pair, device_of(stage)) if BUDGET else 6000)

    return ask


def minutes(stage):
    """Minutes of the jobs of a stage, more at every attempt."""

    def ask(wildcards, attempt):
        pair, models = (wildcards.encoder, wildcards.decoder), len(LATENT_SIZES) * len(SEEDS)
        return attempt * (BUDGET.minutes(stage, *pair, models, device_of(stage)) if BUDGET else 240)

    return ask


def device_of(stage):
    """Where a stage computes."""
    return "cuda" if ON_GPU and stage in ("train", "likelihood") else "cpu"


def all_done(*stages):
    """That file of every job of some stages."""
    return [done(stage).format(**job) for stage in stages for job in JOBS]


def lost(wildcards):
    """What is missing of jobs that are done: files that were deleted, or of a latent size or seed that was added.

    One file of a job will do to have it run again.
    """
    found = []
    for stage in STAGES:
        patterns = getattr(rules, stage).output
        for job in JOBS:
            if os.path.exists(done(stage).format(**job)):
                paths = (pattern.format(**job) for pattern in patterns)
                found += islice((path for path in paths if not os.path.exists(path)), 1)
    return found


def job_models(wildcards, output):
    """The folders of a job's models, in Bash's braces: Snakemake keeps the command in its record of every output.

    Because this takes `output`, Snakemake does not compare it with the last run's: a shorter grid trains nothing again.
    """
    sizes = [wildcards.latent_size] if config["jobs"] == "model" else LATENT_SIZES
    folder = grid.FOLDER.format(
        latent_size=braces(sizes), encoder=wildcards.encoder, decoder=wildcards.decoder, seed=braces(SEEDS)
    )
    return f"results/models/{folder}"


def braces(values):
    """Bash expands {1,2} to 1 and 2, but not {1} to 1."""
    return "{" + ",".join(map(str, values)) + "}" if len(values) > 1 else str(values[0])


def code(*modules):
    """The package files that a stage depends on, as inputs: editing one runs the stages that name it again."""
    return [os.path.relpath(f"{workflow.basedir}/{module}.py") for module in modules]


def own_files():
    """The files of the configured dataset, as inputs: changed data is another study."""
    path = str(Path(config["dataset"]["path"] or "nowhere"))
    # Not with pathlib, which raises where a name is too long for any file.
    return [path] if os.path.isfile(path) else sorted(glob(f"{escape(path)}/*[-.]idx?-ubyte*"))


def images_of(key, option="--images"):
    """The option that says how many images something is measured on, none for all."""
    count = config["evaluation"][key]
    return f"{option} {count}" if count else ""


def as_json(*keys, **parts):
    """The part of the config that a stage depends on: changing it, and nothing else of the config, runs it again."""
    whole = {key: config[key] for key in keys}
    return json.dumps(whole | {key: {part: config[key][part]} for key, part in parts.items()})
