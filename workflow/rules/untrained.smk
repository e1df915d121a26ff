# dataset → the baseline of an encoder before it is trained
rule untrained:
    input:
        **jobs.reads("untrained"),
    output:
        **jobs.writes("untrained"),
    log:
        jobs.of_stage("logs", "untrained", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "untrained", ".tsv")
    conda:
        CONDA
    threads: config["threads"]
    params:
        config=as_json("networks", "objective", "training", grid=["latent_sizes", "sweep"]),
        images=images_of("separability_images"),
        probe_images=images_of("probe_images", "--probe-images"),
    shell:
        "python -m vae untrained --config {params.config:q}"
        " --dataset {input.dataset} {params.images} {params.probe_images}"
        " --threads {threads} --log {log} {wildcards.encoder} {output.untrained}"
