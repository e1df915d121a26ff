# encoder.onnx, decoder.onnx → latents of the test set and of training images, and a few example images
rule latents:
    input:
        **jobs.reads("latents"),
    output:
        **jobs.writes("latents"),
    log:
        jobs.of_stage("logs", "latents", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "latents", ".tsv")
    conda:
        CONDA
    threads: config["threads"]
    resources:
        **resources_of("latents"),
    params:
        models=jobs.models,
        images=images_of("probe_images", "--probe-images"),
    shell:
        "python -m vae latents --dataset {input.dataset} {params.images} --threads {threads} --log {log}"
        " --done {output.done} {params.models}"
