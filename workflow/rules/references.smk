# results/data/dataset.npz → what models are held against, and the classifier in whose features samples are compared
rule pixels:
    input:
        dataset="results/data/dataset.npz",
        facts="results/data/dataset.json",
        code=code(
            "vae/references",
            "vae/probes",
            "vae/linear",
            "vae/data",
            "vae/evaluation",
            "vae/flops",
            "vae/grid",
            "vae/networks",
            "vae/capacity",
            "vae/convolution",
            "vae/objective",
            "vae/resume",
            "vae/training",
        ),
    output:
        numbers="results/references/pixels.json",
    log:
        "results/logs/references/pixels.log",
    benchmark:
        "results/benchmarks/references/pixels.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    params:
        config=as_json("objective", grid="latent_sizes"),
        images=images_of("separability_images"),
        probe_images=images_of("probe_images", "--probe-images"),
    shell:
        "python -m vae pixels --config {params.config:q} --dataset {input.dataset} {params.images}"
        " {params.probe_images} --log {log} {output.numbers}"


rule untrained:
    input:
        dataset="results/data/dataset.npz",
        facts="results/data/dataset.json",
        code=code(
            "vae/references",
            "vae/probes",
            "vae/data",
            "vae/evaluation",
            "vae/flops",
            "vae/grid",
            "vae/networks",
            "vae/capacity",
            "vae/convolution",
            "vae/objective",
            "vae/resume",
            "vae/training",
        ),
    output:
        numbers="results/references/untrained/{encoder}.json",
    log:
        "results/logs/references/{encoder}.log",
    benchmark:
        "results/benchmarks/references/{encoder}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    params:
        config=as_json("networks", grid="latent_sizes", training="seeds"),
        images=images_of("separability_images"),
        probe_images=images_of("probe_images", "--probe-images"),
    shell:
        "python -m vae untrained --config {params.config:q} --dataset {input.dataset} {params.images}"
        " {params.probe_images} --threads {threads} --log {log} {wildcards.encoder} {output.numbers}"


rule classifier:
    input:
        dataset="results/data/dataset.npz",
        facts="results/data/dataset.json",
        code=code(
            "vae/classifier",
            "vae/frechet",
            "vae/data",
            "vae/evaluation",
            "vae/flops",
            "vae/grid",
            "vae/networks",
            "vae/capacity",
            "vae/convolution",
            "vae/objective",
            "vae/resume",
            "vae/training",
            "vae/checkpoint",
            "vae/device",
            "vae/lease",
            "export/graphs",
            "export/layout",
            "export/runtime",
        ),
    output:
        graph="results/references/classifier.npz",
        numbers="results/references/classifier.json",
    log:
        "results/logs/references/classifier.log",
    benchmark:
        "results/benchmarks/references/classifier.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    params:
        samples=config["evaluation"]["prior_samples"],
    shell:
        "python -m vae classifier --dataset {input.dataset} --samples {params.samples} --threads {threads} --log {log}"
        " {output.graph}"
