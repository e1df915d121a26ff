import importlib.util
import json

import pytest
from conftest import ROOT


def test_the_benchmark_of_training_measures_what_it_says(tmp_path, monkeypatch, capsys):
    """Its numbers hang together, whatever the clock says."""
    spec = importlib.util.spec_from_file_location("benchmark", ROOT / "benchmarks/training.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    monkeypatch.setattr(benchmark, "REPEATS", 1)
    monkeypatch.setattr(benchmark, "MODELS", ("DNN1_DNN1",))
    monkeypatch.setattr(benchmark, "matrix_limit", lambda device: 1e12)
    benchmark.main(["--json", str(tmp_path / "table.json")])
    (row,) = json.loads((tmp_path / "table.json").read_text())
    assert row["name"] == "DNN1_DNN1"
    assert row["ratio"] == pytest.approx(row["samples_per_second"] / row["baseline"])
    products = 784 * 512 + 512 * 2 * 98 + 98 * 512 + 512 * 784
    assert row["fraction_of_limit"] == pytest.approx(row["samples_per_second"] * 3 * 2 * products / 1e12)
    assert "DNN1_DNN1" in capsys.readouterr().out
