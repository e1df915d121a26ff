# The study of VAE architectures, from the config to the report.
#
#   config ─► dataset ─► train ─► export ─► measure ─► tables ─► claims, figures ─► pages, report
#                  │                           │          │
#                  ├──────► classifier ────────┘          │
#                  └──────► baselines ────────────────────┘
#
# Where the config asks for them, gaps, swap and control stand beside measure.
# vae/catalogue.py says what each stage reads and writes.
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")

# The checkout: the directory of this file, also where another workflow imports it as a module.
CHECKOUT = Path(workflow.current_basedir.get_path_or_uri(secret_free=False))


configfile: CHECKOUT / "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/dataset.smk"
include: "workflow/rules/check.smk"
include: "workflow/rules/baselines.smk"
include: "workflow/rules/classifier.smk"
include: "workflow/rules/tune.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/fidelity.smk"
include: "workflow/rules/export.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/gaps.smk"
include: "workflow/rules/swap.smk"
include: "workflow/rules/control.smk"
include: "workflow/rules/quantise.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/page.smk"
include: "workflow/rules/explore.smk"


report: "workflow/report/study.rst"


# Every model, without the report. `--batch models=1/4 models` is a quarter of them, and of the memory that Snakemake takes.
rule models:
    input:
        # Of every stage: that of a job which failed is gone, whatever later stages had made of its models before.
        jobs.all_done(*jobs.model_stages),
        jobs.lost,


# Every encoder in 8-bit integers too, which the study itself has no use for: `snakemake --cores all int8`.
rule int8:
    input:
        jobs.all_done("quantise"),
        lambda wildcards: jobs.lost(wildcards, ["quantise"]),


rule all:
    default_target: True
    input:
        jobs.writes("check").values(),
        jobs.writes("tables").values(),
        jobs.writes("claims").values(),
        jobs.writes("figures").values(),
        jobs.writes("page").values(),
        jobs.writes("explore").values(),
        rules.models.input,
