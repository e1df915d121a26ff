# dataset → what the autoencoders of a pair lose
rule control:
    input:
        **jobs.reads("control"),
    output:
        **jobs.writes("control"),
    log:
        jobs.of_stage("logs", "control", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "control", ".tsv")
    conda:
        CONDA
    threads: config["threads"]
    resources:
        **resources_of("control"),
    params:
        config=as_json("networks", "objective", "training", "device", grid=["latent_sizes"]),
        tuning=if_any("tuning"),
        families=if_any("families"),
    shell:
        "python -m vae control --config {params.config:q} --dataset {input.dataset} {params.families} {params.tuning}"
        " --threads {threads} --log {log} {wildcards.encoder} {wildcards.decoder} {output.control}"
