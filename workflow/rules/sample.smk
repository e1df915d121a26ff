# decoder.onnx → samples.json, the Fréchet distance of draws from the prior to test images
rule sample:
    input:
        exported=done("export"),
        classifier="results/references/classifier.npz",
        dataset="results/data/dataset.npz",
        facts="results/data/dataset.json",
        code=code("export/runtime", "vae/frechet", "vae/grid", "vae/data"),
    output:
        done=done("sample"),
        numbers=of_job("samples.json"),
    log:
        f"results/logs/sample/{JOB}.log",
    benchmark:
        f"results/benchmarks/sample/{JOB}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("sample"),
        runtime=minutes("sample"),
    params:
        models=job_models,
        samples=config["evaluation"]["prior_samples"],
    shell:
        "python -m vae sample --dataset {input.dataset} --classifier {input.classifier} --samples {params.samples}"
        " --threads {threads} --log {log} {params.models} && date +%s%N > {output.done}"
