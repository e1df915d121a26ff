"""`vae models`: which models it lists, in which order, and how; and what of their files it shows."""

import csv
import io
import json
import shlex
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from vae.cli import main
from vae.files import read_json, write_json

MODELS = ["L2_DNN1_DNN1", "L4_DNN1_CNN1", "L4_CNN1_DNN1", "L8_CNN1_CNN1"]


@pytest.fixture
def results(tmp_path):
    """A study of four models, of which the last diverged; its third has neither a graph nor labels to probe."""
    table = pd.DataFrame(
        {
            "rank": [1, 2, 3, 4],
            "label": MODELS,
            "seed": [0, 0, 1, 0],
            "latent_size": [2, 4, 4, 8],
            "status": ["ok", "ok", "ok", "diverged"],
            "reconstruction": [100.0, 110.0, 120.0, None],
            "validation_reconstruction": [100.0, 110.0, 120.0, None],
            "kld": [0.00123, 0.5, 20.125, None],
            "collapsed": [True, False, False, None],
            "probe_accuracy": [0.3, 0.9, None, None],
            "objective.beta": [1.0, 1.0, 2.0, 2.0],
            "silhouette": [None] * 4,
        }
    )
    (tmp_path / "tables").mkdir()
    table.to_csv(tmp_path / "tables/models.csv", index=False)
    for label, seed, size in zip(MODELS, table["seed"], (1_500_000, 20_000, None, 1_000), strict=True):
        folder = tmp_path / f"models/{label}/seed{seed}"
        folder.mkdir(parents=True)
        if size:
            (folder / "encoder.onnx").write_bytes(bytes(size))
    return tmp_path


def vae(results, *options, code=0):
    assert main(["models", str(results), *options]) == code


def labels(capsys, results, *options):
    vae(results, *options, "--format", "json", "--columns", "label")
    return [row["label"] for row in json.loads(capsys.readouterr().out)]


def quantised(folder, exact=0.9, made_from="a"):
    stamp = {"provenance": {"format": 3, "package": "0.1.0"}}
    write_json(folder / "export.json", {"sha256": {"encoder.onnx": "a"}} | stamp)
    cost = {
        "made_from": made_from,
        "bytes": {"float32": 20_000, "int8": 5_000},
        "mean_rms_error": 0.01,
        "probe_accuracy": {"float32": exact, "int8": exact and exact - 0.02},
        "times_as_fast": 2.5,
    }
    write_json(folder / "encoder.int8.json", cost | stamp)


def test_models_are_listed_best_first_with_size_and_folder_and_without_columns_that_are_empty(results, capsys):
    vae(results)
    head, *lines = capsys.readouterr().out.splitlines()
    names = "rank label seed status reconstruction kld collapsed probe_accuracy encoder_mb folder"
    assert head.split() == names.split()
    assert [line.split()[1] for line in lines] == MODELS
    assert lines[0].split() == [
        *("1", "L2_DNN1_DNN1", "0", "ok", "100.00", "0.00123", "True", "0.300", "1.50"),
        str(results / "models/L2_DNN1_DNN1/seed0"),
    ]
    assert lines[2].split()[7:9] == ["–", "–"]
    assert len({line.index(str(results)) for line in lines}) == 1  # aligned


def test_what_8_bit_integers_cost_is_shown_where_it_was_measured(results, capsys):
    quantised(results / "models/L4_DNN1_CNN1/seed0")
    quantised(results / "models/L2_DNN1_DNN1/seed0", exact=None)
    names = ["label", "int8_mb", "int8_rms_error", "int8_probe_loss", "int8_times_as_fast"]
    vae(results, "--columns", ",".join(names), "--format", "json", "--limit", "3")
    first, second, third = json.loads(capsys.readouterr().out)
    assert list(second) == names
    assert list(second.values())[1:] == [0.005, 0.01, pytest.approx(0.02), 2.5]
    assert list(first.values())[1:] == [0.005, 0.01, None, 2.5]
    assert set(list(third.values())[1:]) == {None}
    vae(results)
    assert "int8_probe_loss  int8_times_as_fast  folder" in capsys.readouterr().out


def test_the_cost_of_an_encoder_that_has_been_trained_again_since_is_not_shown(results, capsys):
    quantised(results / "models/L4_DNN1_CNN1/seed0", made_from="b")
    vae(results)
    printed = capsys.readouterr()
    assert "int8" not in printed.out
    (line,) = printed.err.splitlines()
    assert "1 encoders in 8-bit integers are older than their models" in line


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--sort", "-rank"], [3, 2, 1, 0]),
        (["--sort", "-kld"], [2, 1, 0, 3]),  # missing values last
        (["--sort", "kld"], [0, 1, 2, 3]),
        (["--sort", "-latent_size,-rank"], [3, 2, 1, 0]),
        (["--sort", "latent_size,-rank"], [0, 2, 1, 3]),
        (["--sort", "-objective.beta"], [2, 3, 0, 1]),  # equal ones stay in their order
        (["--sort", "-objective.beta,probe_accuracy"], [2, 3, 0, 1]),
        (["--sort", "collapsed,-label"], [1, 2, 0, 3]),
        (["--sort=-seed"], [2, 0, 1, 3]),
        (["--where", "latent_size <= 4 and not collapsed"], [1, 2]),
        (["--where", "not collapsed"], [1, 2]),
        (["--where", "kld is None"], [3]),
        (["--where", "encoder_mb < 1", "--sort", "encoder_mb"], [3, 1]),
        (["--where", "objective.beta == 1", "--limit", "1"], [0]),
        (["--limit", "99"], [0, 1, 2, 3]),
    ],
)
def test_which_models_and_in_which_order(results, capsys, options, wanted):
    assert labels(capsys, results, *options) == [MODELS[place] for place in wanted]


def test_formats_hold_the_same_numbers_whole(results, capsys):
    columns = ["--columns", "all"]
    vae(results, *columns, "--format", "csv")
    by_csv = pd.read_csv(io.StringIO(capsys.readouterr().out))
    vae(results, *columns, "--format", "json")
    by_json = json.loads(capsys.readouterr().out)
    table = pd.read_csv(results / "tables/models.csv")
    assert [list(row) for row in by_json] == [list(by_csv)] * 4
    assert list(by_csv)[: len(table.columns)] == list(table)
    for name in table:
        pd.testing.assert_series_equal(by_csv[name], table[name])
        values = [row[name] for row in by_json]
        wanted = [None if pd.isna(value) else value for value in table[name].astype(object)]
        assert values == wanted
    assert by_json[0]["folder"] == str(results / "models/L2_DNN1_DNN1/seed0")
    assert by_json[2]["encoder_mb"] is None


def test_markdown_is_a_table_whatever_it_holds(results, capsys):
    path = results / "tables/models.csv"
    rows = pd.read_csv(path).assign(status=["a|b"] * 4)
    rows.to_csv(path, index=False)
    vae(results, "--format", "md", "--columns", "label,kld,status", "--limit", "2")
    assert capsys.readouterr().out.splitlines() == [
        "| label | kld | status |",
        "| --- | --- | --- |",
        r"| L2_DNN1_DNN1 | 0.00123 | a\|b |",
        r"| L4_DNN1_CNN1 | 0.500 | a\|b |",
    ]


@pytest.mark.parametrize(("name", "wanted"), [("csv", "label\n"), ("json", "[]\n"), ("table", "label\n")])
def test_that_no_model_is_listed_is_said_beside_the_list(results, capsys, name, wanted):
    vae(results, "--where", "kld > 1000", "--columns", "label", "--format", name)
    printed = capsys.readouterr()
    assert printed.out == wanted
    assert printed.err == "vae: WARNING: no model meets the condition kld > 1000\n"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--where", "latentsize < 5"], "did you mean 'latent_size'?"),
        (["--where", "__import__('os').abort()"], "neither a column"),
        (["--sort", "-kdl"], "--sort: unknown column 'kdl'; did you mean 'kld'?"),
        (["--sort", "kld,"], "--sort: unknown column ''"),
        (["--columns", "label,foldr"], "--columns: unknown column 'foldr'; did you mean 'folder'?"),
        (["--limit", "0"], "--limit 0"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(results, capsys, options, reason):
    vae(results, *options, code=2)
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert reason in line


def test_a_folder_that_is_no_study_is_refused(tmp_path, capsys):
    vae(tmp_path, code=2)
    assert "tables/models.csv: not a table" in capsys.readouterr().err


def test_a_real_study_with_encoders_in_8_bit_integers_is_listed(colour, capsys):
    vae(colour / "results", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 8
    for row in rows:
        folder = colour / "results/models" / row["label"] / f"seed{row['seed']}"
        assert row["folder"] == str(folder)
        assert float(row["encoder_mb"]) == (folder / "encoder.onnx").stat().st_size / 1e6
        cost = read_json(folder / "encoder.int8.json")
        assert float(row["int8_times_as_fast"]) == pytest.approx(cost["times_as_fast"])
        assert float(row["images_per_second"]) > 0
        assert "probe_accuracy" not in row  # it has no labels
    vae(
        colour / "results",
        "--where",
        "encoder == 'CNN5' and latent_size < 3",
        "--sort",
        "decoder",
        "--columns",
        "label",
    )
    assert capsys.readouterr().out.split() == ["label", "L1_CNN5_CNN5", "L1_CNN5_DNN1"]


def test_a_reader_that_has_had_enough_is_no_error(results, tmp_path):
    """As `vae models | head` does, of more lines than a pipe takes."""
    copy = tmp_path / "many"
    (copy / "tables").mkdir(parents=True)
    rows = pd.read_csv(results / "tables/models.csv")
    rows.loc[np.zeros(5000, int)].to_csv(copy / "tables/models.csv", index=False)
    command = f"{shlex.quote(sys.executable)} -m vae models {shlex.quote(str(copy))} --columns all | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[0] == "rank"
