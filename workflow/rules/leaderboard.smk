# results/tables/models.csv → results/leaderboard.html
rule leaderboard:
    input:
        **jobs.reads("leaderboard"),
    output:
        page=report(
            jobs.writes("leaderboard")["page"],
            caption="../report/leaderboard.rst",
            category="1 Leaderboard",
            labels={"figure": "leaderboard"},
        ),
    log:
        jobs.of_stage("logs", "leaderboard", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "leaderboard", ".tsv")
    conda:
        CONDA
    shell:
        "python -m vae leaderboard --table {input.models} --dataset {input.dataset} --log {log} {output.page}"
