# config → results/data/dataset.npz, dataset.json
rule data:
    input:
        own=own_files(),
        code=code("vae/data"),
    output:
        arrays="results/data/dataset.npz",
        facts="results/data/dataset.json",
    log:
        "results/logs/data.log",
    benchmark:
        "results/benchmarks/data.tsv"
    conda:
        ENVIRONMENT
    params:
        config=as_json("dataset"),
    shell:
        "python -m vae data --config {params.config:q} --log {log} {output.arrays}"
