# tables and figures → results/claims.html, the page to read first
rule page:
    input:
        **jobs.reads("page"),
        figures=[jobs.writes("figures")[name] for name, figure in jobs.figures.items() if figure.on_page],
    output:
        page=report(
            jobs.writes("page")["page"],
            caption="../report/claims.rst",
            category="0 Claims",
            labels={"figure": "claims"},
        ),
    log:
        jobs.of_stage("logs", "page", ".log"),
    benchmark:
        jobs.of_stage("benchmarks", "page", ".tsv")
    conda:
        CONDA
    shell:
        "python -m vae page --table {input.models} --claims {input.claims} --effects {input.effects}"
        " --fidelity {input.fidelity} --log {log} {output.page} {input.figures}"
