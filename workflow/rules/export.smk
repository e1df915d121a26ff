# weights → encoder and decoder as TorchScript and ONNX, checked against the trained model
rule export:
    input:
        **jobs.reads("export"),
    output:
        **jobs.writes("export"),
    log:
        jobs.of_stage("logs", "export", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "export", ".tsv")
    conda:
        CONDA
    threads: config["threads"]
    resources:
        **resources_of("export"),
    params:
        models=jobs.models,
        families=if_any("families"),
    shell:
        "python -m vae export --dataset {input.dataset} {params.families} --threads {threads} --log {log}"
        " --done {output.done} {params.models}"
