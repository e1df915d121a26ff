# dataset → the baselines: pixels, their components, the linear VAE, and encoders before training
rule baselines:
    input:
        **jobs.reads("baselines"),
    output:
        **jobs.writes("baselines"),
    log:
        jobs.of_stage("logs", "baselines", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "baselines", ".tsv")
    conda:
        CONDA
    threads: config["threads"]
    params:
        config=as_json("networks", "objective", "training", grid=["encoders", "latent_sizes", "sweep"]),
        families=if_any("families"),
        images=images_of("separability_images"),
        probe_images=images_of("probe_images", "--probe-images"),
    shell:
        "python -m vae baselines --config {params.config:q} {params.families}"
        " --dataset {input.dataset} {params.images} {params.probe_images}"
        " --threads {threads} --log {log} {output.pixels} {output.untrained} {output.truth}"
