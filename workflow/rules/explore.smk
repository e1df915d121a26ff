# tables and models → results/explore.html, to look at models one by one and beside each other
rule explore:
    input:
        **jobs.reads("explore"),
    output:
        page=report(
            jobs.writes("explore")["page"],
            caption="../report/explore.rst",
            category="1 Explore",
            labels={"figure": "explore"},
        ),
    log:
        jobs.of_stage("logs", "explore", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "explore", ".tsv")
    conda:
        CONDA
    params:
        folder=jobs.folder,
    shell:
        "python -m vae explore --dataset {input.dataset} --results {params.folder} --log {log} {output.page}"
