# results/tables/models.csv → claims.csv, effects.csv, means.csv, rate_distortion.csv
rule claims:
    input:
        **jobs.reads("claims"),
    output:
        **jobs.writes("claims"),
    log:
        jobs.of_stage("logs", "claims", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "claims", ".tsv")
    conda:
        CONDA
    shell:
        "python -m vae claims --table {input.models} --fidelity {input.fidelity} --swap {input.swap} --log {log} {output.claims}"
        " {output.effects} {output.means} {output.rate_distortion}"
