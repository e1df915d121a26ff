"""Two studies beside each other."""

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
    verdicts.verdicts(rows, 20).assign(at_this_budget=False).to_csv(tables / "claims.csv", index=False)
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
    assert (row["verdict_a"], row["verdict_b"], row["survives"]) == ("supported", "contradicted", False)
    assert claims.loc["separable_at_50", "survives"]


def test_ranks_shift_by_as_much_as_they_differ(studies):
    first, second = map(comparison.Study.read, studies)
    table = comparison.ranks(first, second)
    assert sorted(table["rank_a"]) == sorted(table["rank_b"]) == list(range(1, 101))
    assert (table["shift"] == table["rank_b"] - table["rank_a"]).all()
    shifts = table.groupby("encoder")["shift"].mean()
    assert shifts["DNN1"] > 20  # for the worse
    assert shifts["CNN4"] < -20
    assert comparison.ranks(first, first)["shift"].eq(0).all()


def test_only_shared_architectures_are_ranked_among_themselves(studies, tmp_path):
    few = write(tmp_path / "few", table(networks=["DNN1", "CNN8"]))
    shared = comparison.ranks(comparison.Study.read(studies[0]), comparison.Study.read(few))
    assert set(shared["encoder"]) == set(shared["decoder"]) == {"DNN1"}
    assert sorted(shared["rank_a"]) == [1, 2, 3, 4]
    none = comparison.Study.read(write(tmp_path / "none", table(networks=["DNN8"])))
    with pytest.raises(UserError, match="one and none share no architecture"):
        comparison.ranks(comparison.Study.read(studies[0]), none)


def test_the_command_writes_tables_a_figure_and_a_page(studies, tmp_path, capsys):
    out = tmp_path / "both"
    assert main(["compare", *map(str, studies), "--output", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out / "compare.html")
    page = (out / "compare.html").read_text()
    assert '<th colspan="2">one</th><th colspan="2">other</th>' in page
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
