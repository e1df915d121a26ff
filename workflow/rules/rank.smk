# every model's numbers → results/tables/models.csv, one row per model; counts.csv, who is in the top quartile
rule rank:
    input:
        config="results/config.yaml",
        jobs=all_done("train", "export", "project", "likelihood", "sample"),
        references=REFERENCES,
        code=code("vae/ranking", "vae/linear", "vae/grid"),
    output:
        models="results/tables/models.csv",
        counts="results/tables/counts.csv",
    log:
        "results/logs/rank.log",
    benchmark:
        "results/benchmarks/rank.tsv"
    conda:
        ENVIRONMENT
    shell:
        "python -m vae rank --config {input.config} --models results/models --references results/references --table {output.models}"
        " --counts {output.counts} --log {log}"
