# config, results/data/dataset.json → results/config.yaml, its grid checked against the images
rule study:
    input:
        dataset="results/data/dataset.npz",
        facts="results/data/dataset.json",
        code=code("vae/study", "vae/grid", "vae/networks", "vae/capacity", "vae/convolution"),
    output:
        config="results/config.yaml",
    log:
        "results/logs/study.log",
    benchmark:
        "results/benchmarks/study.tsv"
    # Before any training: no training job can wait for it, or a longer grid would train everything again.
    priority: 1
    conda:
        ENVIRONMENT
    params:
        config=as_json(*config),
    shell:
        "python -m vae study --config {params.config:q} --dataset {input.dataset} --log {log} {output.config}"
