# The study of VAE architectures, from the config to the report.
#
#   config ─► dataset ─► train ─► export ─► latents ─► project ─► rank ─► claims, figures ─► report
#                  │       │         ├──────► sample ────────────┤
#                  │       │         └──────► quantise           │
#                  │       └────────────► likelihood ────────────┤
#                  └────────────────────► references ────────────┘
from snakemake.utils import min_version

min_version("9.0")


configfile: f"{workflow.basedir}/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/study.smk"
include: "workflow/rules/references.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/likelihood.smk"
include: "workflow/rules/export.smk"
include: "workflow/rules/latents.smk"
include: "workflow/rules/project.smk"
include: "workflow/rules/sample.smk"
include: "workflow/rules/quantise.smk"
include: "workflow/rules/rank.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"


report: "workflow/report/study.rst"


onstart:
    files.write_json(HOLDER, {"node": platform.node(), "pid": os.getpid()})


# Every model, without the report. `--batch models=1/4 models` is a quarter of them, and of the memory that Snakemake takes.
rule models:
    input:
        # Of every stage: that of a job which failed is gone, whatever later stages had made of its models before.
        all_done(*STAGES),
        lost,


rule all:
    default_target: True
    input:
        "results/config.yaml",
        "results/tables/models.csv",
        "results/tables/counts.csv",
        "results/tables/claims.csv",
        "results/tables/effects.csv",
        "results/claims.html",
        "results/leaderboard.html",
        expand("results/figures/{figure}.{format}", figure=FIGURES, format=["png", "pdf"]),
        rules.models.input,
