# config → results/data/dataset.npz, dataset.json
rule dataset:
    input:
        **jobs.reads("dataset"),
        own=jobs.dataset_files(),
    output:
        **jobs.writes("dataset"),
    log:
        jobs.of_stage("logs", "dataset", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "dataset", ".tsv")
    conda:
        CONDA
    params:
        config=as_json("dataset"),
    shell:
        "python -m vae dataset --config {params.config:q} --log {log} {output.dataset}"
