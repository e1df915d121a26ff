# weights, graphs → latents, and what is measured of codes, samples and likelihood
rule measure:
    input:
        **jobs.reads("measure"),
    output:
        **jobs.writes("measure"),
    log:
        jobs.of_stage("logs", "measure", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "measure", ".tsv")
    conda:
        CONDA
    threads: config["threads"]
    resources:
        **resources_of("measure"),
    params:
        models=jobs.models,
        families=if_any("families"),
        samples=config["evaluation"]["prior_samples"],
        likelihood_samples=config["evaluation"]["likelihood_samples"],
        images=images_of("separability_images"),
        probe_images=images_of("probe_images", "--probe-images"),
        likelihood_images=images_of("likelihood_images", "--likelihood-images"),
    shell:
        "python -m vae measure --dataset {input.dataset} --classifier {input.classifier} {params.images}"
        " {params.families} {params.probe_images} --samples {params.samples}"
        " --likelihood-samples {params.likelihood_samples} {params.likelihood_images}"
        " --threads {threads} --log {log} --done {output.done} {params.models}"
