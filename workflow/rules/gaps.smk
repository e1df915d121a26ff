# weights → what every model loses by inference, on test images and on training images
rule gaps:
    input:
        **jobs.reads("gaps"),
    output:
        **jobs.writes("gaps"),
    log:
        jobs.of_stage("logs", "gaps", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "gaps", ".tsv")
    conda:
        CONDA
    threads: config["threads"]
    resources:
        **resources_of("gaps"),
    params:
        models=jobs.models,
        families=if_any("families"),
        images=config["evaluation"]["gap_images"],
        device=config["device"],
    shell:
        "python -m vae gaps --dataset {input.dataset} --images {params.images} --device {params.device}"
        " {params.families} --threads {threads} --log {log} --done {output.done} {params.models}"
