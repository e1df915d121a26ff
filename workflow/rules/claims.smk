# results/tables/models.csv → results/tables/claims.csv, effects.csv; with the figures that show them → claims.html
rule claims:
    input:
        table="results/tables/models.csv",
        code=code("vae/claims", "vae/effects", "vae/ranking", "vae/linear", "vae/grid"),
    output:
        claims="results/tables/claims.csv",
        effects="results/tables/effects.csv",
    log:
        "results/logs/claims.log",
    benchmark:
        "results/benchmarks/claims.tsv"
    conda:
        ENVIRONMENT
    shell:
        "python -m vae claims --table {input.table} --log {log} {output.claims} {output.effects}"


rule page:
    input:
        table="results/tables/models.csv",
        claims="results/tables/claims.csv",
        figures=expand("results/figures/{figure}.png", figure=SHOWN),
        code=code("vae/page", "vae/ranking", "vae/linear", "vae/grid"),
    output:
        page=report(
            "results/claims.html",
            caption="../report/claims.rst",
            category="0 Claims",
            labels={"figure": "claims"},
        ),
    log:
        "results/logs/page.log",
    benchmark:
        "results/benchmarks/page.tsv"
    conda:
        ENVIRONMENT
    shell:
        "python -m vae page --table {input.table} --claims {input.claims} --log {log} {output.page} {input.figures}"
