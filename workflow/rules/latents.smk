# encoder.onnx, decoder.onnx → latents of the test set and of training images, and a few example images
rule latents:
    input:
        exported=done("export"),
        dataset="results/data/dataset.npz",
        facts="results/data/dataset.json",
        code=code("export/runtime", "vae/grid", "vae/data"),
    output:
        done=done("latents"),
        latents=of_job("latents.npz"),
        examples=of_job("examples.npz"),
    log:
        f"results/logs/latents/{JOB}.log",
    benchmark:
        f"results/benchmarks/latents/{JOB}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("latents"),
        runtime=minutes("latents"),
    params:
        models=job_models,
        images=images_of("probe_images", "--probe-images"),
    shell:
        "python -m vae latents --dataset {input.dataset} {params.images} --threads {threads} --log {log} {params.models}"
        " && date +%s%N > {output.done}"
