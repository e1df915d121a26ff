# weights → encoder and decoder as TorchScript and ONNX, checked against the trained model
rule export:
    input:
        trained=done("train"),
        dataset="results/data/dataset.npz",
        code=code(
            "export/graphs",
            "export/layout",
            "export/runtime",
            "vae/grid",
            "vae/data",
            "vae/networks",
            "vae/capacity",
            "vae/convolution",
            "vae/objective",
            "vae/resume",
            "vae/training",
            "vae/checkpoint",
            "vae/device",
            "vae/lease",
        ),
    output:
        done=done("export"),
        encoder_script=of_job("encoder.ts"),
        decoder_script=of_job("decoder.ts"),
        encoder=of_job("encoder.onnx"),
        decoder=of_job("decoder.onnx"),
        check=of_job("export.json"),
    log:
        f"results/logs/export/{JOB}.log",
    benchmark:
        f"results/benchmarks/export/{JOB}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("export"),
        runtime=minutes("export"),
    params:
        models=job_models,
    shell:
        "python -m vae export --dataset {input.dataset} --threads {threads} --log {log} {params.models}"
        " && date +%s%N > {output.done}"
