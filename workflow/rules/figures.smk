# results/tables, and what was computed for each model → every figure as PNG and PDF
rule figures:
    input:
        **jobs.reads("figures"),
    output:
        **jobs.writes("figures")
        | {
            name: report(
                jobs.writes("figures")[name],
                caption="../report/figure.rst",
                category=figure.category,
                labels={"figure": name.replace("_", " ")},
            )
            for name, figure in jobs.figures.items()
        },
    log:
        jobs.of_stage("logs", "figures", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "figures", ".tsv")
    conda:
        CONDA
    params:
        results=jobs.folder,
        names=" ".join(jobs.figures),
    shell:
        "python -m vae figures --dataset {input.dataset} --results {params.results} --log {log} {params.results}/figures"
        " {params.names}"
