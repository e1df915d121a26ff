# config, dataset → results/config.yaml, its grid checked against the images
rule check:
    input:
        **jobs.reads("check"),
    output:
        **jobs.writes("check"),
    log:
        jobs.of_stage("logs", "check", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "check", ".tsv")
    # Before any training: no training job can wait for it, or a longer grid would train everything again.
    priority: 1
    conda:
        CONDA
    params:
        config=as_json(*config),
        families=if_any("families"),
    shell:
        "python -m vae check --config {params.config:q} --dataset {input.dataset} {params.families}"
        " --log {log} {output.config}"
