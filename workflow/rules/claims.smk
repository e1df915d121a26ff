# results/tables/models.csv → results/tables/claims.csv, and results/claims.html, the first page of the report
rule claims:
    input:
        table="results/tables/models.csv",
        code=code("vae/claims", "vae/ranking", "vae/linear", "vae/grid"),
    output:
        table="results/tables/claims.csv",
        page=report(
            "results/claims.html",
            caption="../report/claims.rst",
            category="0 Claims",
            labels={"figure": "claims"},
        ),
    log:
        "results/logs/claims.log",
    benchmark:
        "results/benchmarks/claims.tsv"
    conda:
        ENVIRONMENT
    shell:
        "python -m vae claims --table {input.table} --log {log} {output.table} {output.page}"
