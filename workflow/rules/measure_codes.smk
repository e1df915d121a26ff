# latents → codes.json: what they say of image and class; codes.npz: their principal components
rule measure_codes:
    input:
        **jobs.reads("measure_codes"),
    output:
        **jobs.writes("measure_codes"),
    log:
        jobs.of_stage("logs", "measure_codes", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "measure_codes", ".tsv")
    conda:
        CONDA
    threads: config["threads"]
    resources:
        **resources_of("measure_codes"),
    params:
        models=jobs.models,
        images=images_of("separability_images"),
    shell:
        "python -m vae measure_codes --dataset {input.dataset} {params.images} --log {log}"
        " --done {output.done} {params.models}"
