# encoder.onnx → encoder.int8.onnx in 8-bit integers, and what that costs
rule quantise:
    input:
        **jobs.reads("quantise"),
    output:
        **jobs.writes("quantise"),
    log:
        jobs.of_stage("logs", "quantise", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "quantise", ".tsv")
    conda:
        CONDA
    threads: config["threads"]
    resources:
        **resources_of("quantise"),
    params:
        models=jobs.models,
        images=images_of("separability_images"),
    shell:
        "python -m vae quantise --dataset {input.dataset} {params.images} --threads {threads} --log {log}"
        " --done {output.done} {params.models}"
