# results/tables, and what was computed for each model → a figure as PNG and PDF
rule figure:
    input:
        **jobs.reads("figure"),
        drawn_from=jobs.drawn_from,
    output:
        png=report(
            jobs.writes("figure")["png"],
            caption="../report/figure.rst",
            category=lambda wildcards: FIGURES[wildcards.figure].category,
            labels=lambda wildcards: {"figure": wildcards.figure.replace("_", " ")},
        ),
        pdf=jobs.writes("figure")["pdf"],
    log:
        jobs.of_stage("logs", "figure", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "figure", ".tsv")
    conda:
        CONDA
    params:
        results=jobs.folder,
        caption=lambda wildcards: FIGURES[wildcards.figure].caption,
    shell:
        "python -m vae figure --dataset {input.dataset} --results {params.results} --log {log} {wildcards.figure}"
        " {output.png} {output.pdf}"
