# weights → what every encoder reaches with the decoders of a pair, when it is fitted to them anew
rule swap:
    input:
        **jobs.reads("swap"),
    output:
        **jobs.writes("swap"),
    log:
        jobs.of_stage("logs", "swap", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "swap", ".tsv")
    conda:
        CONDA
    threads: config["threads"]
    resources:
        **resources_of("swap"),
    params:
        models=jobs.models_of_pair,
        config=as_json("networks", "objective", "training", "device", grid=["encoders"]),
        tuning=if_any("tuning"),
        families=if_any("families"),
    shell:
        "python -m vae swap --config {params.config:q} --dataset {input.dataset} {params.families} {params.tuning}"
        " --threads {threads} --log {log} --output {output.swap} {params.models}"
