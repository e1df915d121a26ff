# encoder.onnx → encoder.int8.onnx in 8-bit integers, and what that costs
rule quantise:
    input:
        trained=done("train"),
        exported=done("export"),
        encoded=done("latents"),
        projected=done("project"),
        dataset="results/data/dataset.npz",
        facts="results/data/dataset.json",
        code=code("export/quantise", "export/runtime", "vae/probes", "vae/data"),
    output:
        done=done("quantise"),
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
        " && date +%s%N > {output.done}"
