"""Two studies beside each other."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_claims import better, table

from vae.analysis import comparison
from vae.analysis.claims import paper, verdicts
from vae.cli import main
from vae.errors import UserError


def write(folder, rows):
    """The tables of a finished study."""
    tables = folder / "results/tables"
    tables.mkdir(parents=True)
    rows.to_csv(tables / "models.csv", index=False)
    verdicts.verdicts(rows).assign(at_this_budget=False).to_csv(tables / "claims.csv", index=False)
    return folder / "results"


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """One in which DNN1 encoders lead and latent size 25 collapses, and one in which CNN4 encoders lead."""
    root = tmp_path_factory.mktemp("studies")

    def first(base, latent_size, encoder, **_):
        return {"reconstruction": base - 20 * (encoder == "DNN1"), "kld": 0.01 if latent_size == 25 else 10.0}

    return (
        write(root / "one", table(first)),
        write(root / "other", table(better(lambda encoder, **_: encoder == "CNN4"))),
    )


def test_verdicts_side_by_side_say_which_survive(studies):
    claims = comparison.verdicts(*map(comparison.Study.read, studies)).set_index("claim")
    assert len(claims) == len(paper.CLAIMS)
    row = claims.loc["simple_dense_encoders"]
    assert (row["verdict_a"], row["verdict_b"], row["outcome"]) == ("supported", "contradicted", comparison.DIFFERS)
    assert claims.loc["separable_at_50", "outcome"] == comparison.SURVIVES
    assert claims.loc["collapsed_are_beaten", "outcome"] == comparison.IDENTITY
    assert set(claims["outcome"]) <= set(comparison.OUTCOMES)


def test_two_undecided_verdicts_are_open_unless_their_numbers_differ(studies):
    first = comparison.Study.read(studies[0])
    row = {"claim": "c", "sentence": "s", "unit": "nats", "verdict": "undecided", "finding": "", "low": -1, "high": 1}
    low, high = (
        comparison.Study("", pd.DataFrame([row | {"value": value, "error": 0.1, "freedom": 20}]), first.labels)
        for value in (0.0, 0.3)
    )
    assert comparison.verdicts(low, high)["outcome"].item() == comparison.OPEN
    supported = comparison.Study("", low.claims.assign(verdict="supported", value=1.0), first.labels)
    assert comparison.verdicts(low, supported)["outcome"].item() == comparison.DIFFERS
    near = comparison.Study("", low.claims.assign(verdict="supported", value=0.2), first.labels)
    assert comparison.verdicts(low, near)["outcome"].item() == comparison.OPEN


@pytest.mark.slow
def test_the_difference_of_two_studies_has_the_planted_interval():
    """DNN1 encoders lead by three nats in one study, and by two in the other."""

    def study(by, start):
        leads = better(lambda encoder, **_: encoder == "DNN1", by)
        rows = table(leads, start=start, spread=0.0, networks=["DNN1", "CNN1"], sizes=[50])
        claim = verdicts.row(paper.CLAIMS["simple_dense_encoders"], verdicts.view(rows))
        return comparison.Study("", pd.DataFrame([claim]), pd.DataFrame())

    held = []
    for start in range(100):
        (claim,) = comparison.verdicts(study(3, start), study(2, 1000 + start)).itertuples()
        held.append(claim.low <= -1 <= claim.high)
    assert 0.89 <= np.mean(held) <= 0.99


def test_ranks_shift_by_as_much_as_they_differ(studies):
    first, second = map(comparison.Study.read, studies)
    table = comparison.ranks(first, second)
    for _, part in table.groupby("latent_size"):
        assert sorted(part["rank_a"]) == sorted(part["rank_b"]) == list(range(1, 26))
    assert (table["shift"] == table["rank_b"] - table["rank_a"]).all()
    shifts = table.groupby("encoder")["shift"].mean()
    assert shifts["DNN1"] > 5  # for the worse
    assert shifts["CNN4"] < -5
    assert comparison.ranks(first, first)["shift"].eq(0).all()


def test_only_shared_architectures_are_ranked_among_themselves(studies, tmp_path):
    few = write(tmp_path / "few", table(networks=["DNN1", "CNN8"]))
    shared = comparison.ranks(comparison.Study.read(studies[0]), comparison.Study.read(few))
    assert set(shared["encoder"]) == set(shared["decoder"]) == {"DNN1"}
    assert set(shared["rank_a"]) == {1}  # of each latent size
    none = comparison.Study.read(write(tmp_path / "none", table(networks=["DNN8"])))
    with pytest.raises(UserError, match="one and none share no architecture"):
        comparison.ranks(comparison.Study.read(studies[0]), none)


def test_the_command_writes_tables_a_figure_and_a_page(studies, tmp_path, capsys):
    out = tmp_path / "both"
    assert main(["compare", *map(str, studies), "--output", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out / "compare.html")
    page = (out / "compare.html").read_text()
    assert "<th>one</th><th>other</th><th>difference</th>" in page
    assert 'src="data:image/png;base64,' in page
    assert len(pd.read_csv(out / "verdicts.csv")) == len(paper.CLAIMS)
    assert len(pd.read_csv(out / "ranks.csv")) == 100
    with Image.open(out / "shifted_ranks.png") as image:
        assert image.width == pytest.approx(8.27 * 150, abs=2)


def test_a_folder_without_tables_is_named_and_nothing_is_written(studies, tmp_path, capsys):
    out = tmp_path / "both"
    assert main(["compare", str(studies[0]), str(tmp_path), "--output", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "tables/models.csv") in line
    assert not out.exists()
