# every model's numbers → results/tables: models.csv, architectures.csv, counts.csv
rule tables:
    input:
        **jobs.reads("tables"),
    output:
        **jobs.writes("tables"),
    log:
        jobs.of_stage("logs", "tables", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "tables", ".tsv")
    conda:
        CONDA
    params:
        results=jobs.folder,
    shell:
        "python -m vae tables --config {input.config} --results {params.results}"
        " --table {output.models} --architectures {output.architectures} --counts {output.counts}"
        " --fidelity {output.fidelity} --swap {output.swap} --log {log}"
