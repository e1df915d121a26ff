# dataset → the baselines of pixels, and the spectrum for the linear VAE
rule pixels:
    input:
        **jobs.reads("pixels"),
    output:
        **jobs.writes("pixels"),
    log:
        jobs.of_stage("logs", "pixels", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "pixels", ".tsv")
    conda:
        CONDA
    threads: config["threads"]
    params:
        config=as_json("networks", "objective", "training", grid=["latent_sizes", "sweep"]),
        images=images_of("separability_images"),
        probe_images=images_of("probe_images", "--probe-images"),
    shell:
        "python -m vae pixels --config {params.config:q}"
        " --dataset {input.dataset} {params.images} {params.probe_images}"
        " --log {log} {output.pixels}"
