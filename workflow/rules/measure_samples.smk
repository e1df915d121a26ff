# decoder.onnx → samples.json, the FID-style distance of draws from the prior to test images
rule measure_samples:
    input:
        **jobs.reads("measure_samples"),
    output:
        **jobs.writes("measure_samples"),
    log:
        jobs.of_stage("logs", "measure_samples", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "measure_samples", ".tsv")
    conda:
        CONDA
    threads: config["threads"]
    resources:
        **resources_of("measure_samples"),
    params:
        models=jobs.models,
        samples=config["evaluation"]["prior_samples"],
    shell:
        "python -m vae measure_samples --dataset {input.dataset} --classifier {input.classifier}"
        " --samples {params.samples}"
        " --threads {threads} --log {log} --done {output.done} {params.models}"
