# results/tables/models.csv → results/leaderboard.html, a page of the report
rule leaderboard:
    input:
        table="results/tables/models.csv",
        dataset="results/data/dataset.npz",
        facts="results/data/dataset.json",
        code=code("vae/leaderboard", "vae/ranking", "vae/linear", "vae/grid"),
    output:
        page=report(
            "results/leaderboard.html",
            caption="../report/leaderboard.rst",
            category="1 Leaderboard",
            labels={"figure": "leaderboard"},
        ),
    log:
        "results/logs/leaderboard.log",
    benchmark:
        "results/benchmarks/leaderboard.tsv"
    conda:
        ENVIRONMENT
    shell:
        "python -m vae leaderboard --table {input.table} --dataset {input.dataset} --log {log} {output.page}"
