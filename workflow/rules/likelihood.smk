# weights → likelihood.json, the importance-weighted bound on log p(x) of test images
rule likelihood:
    input:
        trained=done("train"),
        dataset="results/data/dataset.npz",
        code=code(
            "vae/grid",
            "vae/data",
            "vae/networks",
            "vae/capacity",
            "vae/convolution",
            "vae/objective",
            "vae/resume",
            "vae/training",
            "vae/checkpoint",
            "vae/likelihood",
            "vae/device",
            "vae/lease",
        ),
    output:
        done=done("likelihood"),
        numbers=of_job("likelihood.json"),
    log:
        f"results/logs/likelihood/{JOB}.log",
    benchmark:
        f"results/benchmarks/likelihood/{JOB}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("likelihood"),
        runtime=minutes("likelihood"),
        gpu=int(ON_GPU),
    params:
        models=job_models,
        samples=config["evaluation"]["likelihood_samples"],
        images=images_of("likelihood_images"),
        device=config["device"],
    shell:
        "python -m vae likelihood --dataset {input.dataset} --samples {params.samples} {params.images}"
        " --device {params.device} --threads {threads} --log {log} {params.models}"
        " && date +%s%N > {output.done}"
