# weights → likelihood.json, the importance-weighted bound on log p(x) of test images
rule likelihood:
    input:
        **jobs.reads("likelihood"),
    output:
        **jobs.writes("likelihood"),
    log:
        jobs.of_stage("logs", "likelihood", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "likelihood", ".tsv")
    conda:
        CONDA
    threads: config["threads"]
    resources:
        **resources_of("likelihood"),
    params:
        models=jobs.models,
        samples=config["evaluation"]["likelihood_samples"],
        images=images_of("likelihood_images"),
        device=config["device"],
    shell:
        "python -m vae likelihood --dataset {input.dataset} --samples {params.samples} {params.images}"
        " --device {params.device} --threads {threads} --log {log} --done {output.done} {params.models}"
