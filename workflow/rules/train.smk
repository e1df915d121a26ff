# results/data/dataset.npz → weights, metrics, history and provenance of every model
rule train:
    input:
        dataset="results/data/dataset.npz",
        facts="results/data/dataset.json",
        code=code(
            "vae/grid",
            "vae/data",
            "vae/networks",
            "vae/capacity",
            "vae/flops",
            "vae/objective",
            "vae/convolution",
            "vae/resume",
            "vae/training",
            "vae/stacking",
            "vae/device",
            "vae/lease",
            "vae/evaluation",
            "vae/checkpoint",
        ),
    output:
        done=done("train"),
        weights=of_job("weights.safetensors"),
        metrics=of_job("metrics.json"),
        history=of_job("history.csv"),
        provenance=of_job("provenance.json"),
    log:
        f"results/logs/train/{JOB}.log",
    benchmark:
        f"results/benchmarks/train/{JOB}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("train"),
        runtime=minutes("train"),
        gpu=int(ON_GPU),
    params:
        models=job_models,
        config=as_json("networks", "objective", "training", "device"),
    shell:
        "python -m vae train --config {params.config:q} --dataset {input.dataset} --threads {threads} --log {log}"
        " {params.models} && date +%s%N > {output.done}"
