# results/tables/models.csv, and what was computed for each model → every figure as PNG and PDF
rule figure:
    input:
        table="results/tables/models.csv",
        dataset="results/data/dataset.npz",
        pixels="results/references/pixels.json",
        drawn=lambda wildcards: all_done(*DRAWN_FROM.get(wildcards.figure, [])),
        code=code("vae/figures", "vae/effects", "vae/ranking", "vae/linear", "vae/grid", "vae/data"),
    output:
        png=report(
            "results/figures/{figure}.png",
            caption="../report/figure.rst",
            category=lambda wildcards: CATEGORIES[wildcards.figure],
            labels=lambda wildcards: {"figure": wildcards.figure.replace("_", " ")},
        ),
        pdf="results/figures/{figure}.pdf",
    log:
        "results/logs/figures/{figure}.log",
    benchmark:
        "results/benchmarks/figures/{figure}.tsv"
    conda:
        ENVIRONMENT
    shell:
        "python -m vae figure --table {input.table} --models results/models --references results/references --dataset {input.dataset} --log {log}"
        " {wildcards.figure} {output.png} {output.pdf}"
