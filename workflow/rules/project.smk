# latents → principal components, separability and information
rule project:
    input:
        encoded=done("latents"),
        dataset="results/data/dataset.npz",
        code=code("vae/projection", "vae/probes", "vae/information", "vae/data", "vae/grid"),
    output:
        done=done("project"),
        components=of_job("projection.npz"),
        numbers=of_job("projection.json"),
    log:
        f"results/logs/project/{JOB}.log",
    benchmark:
        f"results/benchmarks/project/{JOB}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("project"),
        runtime=minutes("project"),
    params:
        models=job_models,
        images=images_of("separability_images"),
    shell:
        "python -m vae project --dataset {input.dataset} {params.images} --log {log} {params.models} && date +%s%N > {output.done}"
