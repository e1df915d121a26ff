# dataset → the classifier in whose features samples are compared with images
rule classifier:
    input:
        **jobs.reads("classifier"),
    output:
        **jobs.writes("classifier"),
    log:
        jobs.of_stage("logs", "classifier", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "classifier", ".tsv")
    conda:
        CONDA
    threads: config["threads"]
    params:
        samples=config["evaluation"]["prior_samples"],
    shell:
        "python -m vae classifier --dataset {input.dataset} --samples {params.samples}"
        " --threads {threads} --log {log} {output.classifier}"
