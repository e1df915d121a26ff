# encoder.onnx → encoder.int8.onnx in 8-bit integers, and what that costs
rule quantise:
    input:
        encoder=of_job("encoder.onnx"),
        metrics=of_job("metrics.json"),
        latents=of_job("latents.npz"),
        numbers=of_job("projection.json"),
        dataset="results/data/dataset.npz",
        facts="results/data/dataset.json",
        code=code("export/quantise", "export/runtime", "vae/probes", "vae/data"),
    output:
        encoder=of_job("encoder.int8.onnx"),
        cost=of_job("encoder.int8.json"),
    log:
        f"results/logs/quantise/{JOB}.log",
    benchmark:
        f"results/benchmarks/quantise/{JOB}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("quantise"),
        runtime=minutes("quantise"),
    params:
        models=job_models,
        images=images_of("separability_images"),
    shell:
        "python -m vae quantise --dataset {input.dataset} {params.images} --threads {threads} --log {log} {params.models}"
