# dataset → weights, metrics, history and provenance of every model
rule train:
    input:
        **jobs.reads("train"),
    output:
        **jobs.writes("train"),
    log:
        jobs.of_stage("logs", "train", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "train", ".tsv")
    conda:
        CONDA
    threads: config["threads"]
    resources:
        **resources_of("train"),
    params:
        models=jobs.models,
        config=as_json("networks", "objective", "training", "device"),
        sweep=jobs.sweep,
        tuning=if_any("tuning"),
        families=if_any("families"),
    shell:
        "python -m vae train --config {params.config:q} --sweep {params.sweep:q}"
        " --dataset {input.dataset} {params.families} {params.tuning}"
        " --threads {threads} --log {log} --done {output.done} {params.models}"
