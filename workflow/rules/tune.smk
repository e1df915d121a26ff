# dataset → which value of the tuned key a pair trains with
rule tune:
    input:
        **jobs.reads("tune"),
    output:
        **jobs.writes("tune"),
    log:
        jobs.of_stage("logs", "tune", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "tune", ".tsv")
    conda:
        CONDA
    threads: config["threads"]
    resources:
        **resources_of("tune"),
    params:
        config=as_json("networks", "objective", "training", "device", grid=["latent_sizes", "tune"]),
        families=if_any("families"),
    shell:
        "python -m vae tune --config {params.config:q} --dataset {input.dataset} {params.families}"
        " --threads {threads} --log {log} {wildcards.encoder} {wildcards.decoder} {output.tuning}"
