# dataset → what a sentinel of the budget loses when it is trained for twice as long
rule fidelity:
    input:
        **jobs.reads("fidelity"),
    output:
        **jobs.writes("fidelity"),
    log:
        jobs.of_stage("logs", "fidelity", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "fidelity", ".tsv")
    conda:
        CONDA
    threads: config["threads"]
    resources:
        **resources_of("fidelity"),
    params:
        config=as_json("networks", "objective", "training", "device"),
        label=jobs.sentinel,
        tuning=if_any("tuning"),
        families=if_any("families"),
    shell:
        "python -m vae fidelity --config {params.config:q} --dataset {input.dataset} {params.families} {params.tuning}"
        " --threads {threads} --log {log} {params.label} {output.fidelity}"
