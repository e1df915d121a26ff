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
    threads: config["threads"]
    params:
        config=as_json("dataset"),
        # The command has no use for it: where pictures change, the job runs again.
        pictures=lambda wildcards: jobs.pictures(),
    shell:
        "python -m vae dataset --config {params.config:q} --threads {threads} --log {log} {output.dataset}"
