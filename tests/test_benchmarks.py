"""The programs of `benchmarks/` measure what they say, whatever the clock says."""

import json
import sys

import pytest
from conftest import ROOT

from vae.grid import Spec
from vae.networks import build, parameters


@pytest.fixture
def benchmark(monkeypatch):
    """`benchmarks/training.py`, importable also by the processes that it starts."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import training

    yield training
    del sys.modules["training"]


def test_the_numbers_of_training_hang_together(benchmark, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "REPEATS", 1)
    monkeypatch.setattr(benchmark, "IMAGES", {"cpu": 600, "cuda": 600})
    monkeypatch.setattr(benchmark, "MODELS", ("DNN1_DNN1",))
    monkeypatch.setattr(benchmark, "matrix_limit", lambda on, precision: 1e12)
    benchmark.main(["--json", str(tmp_path / "table.json"), "--together", "2"])
    (row,) = json.loads((tmp_path / "table.json").read_text())
    assert row["name"] == "DNN1_DNN1"
    assert row["ratio"] == pytest.approx(row["samples_per_second"] / row["baseline"])
    products = 784 * 512 + 512 * 2 * 98 + 98 * 512 + 512 * 784
    assert row["fraction_of_limit"] == pytest.approx(row["samples_per_second"] * 3 * 2 * products / 1e12)
    assert "DNN1_DNN1" in capsys.readouterr().out


def test_the_stock_models_are_those_of_the_package(benchmark):
    for name in (*benchmark.MODELS, "CNN2_DNN1", "DNN2_CNN4"):
        spec = Spec.parse(f"L98_{name}")
        ours = build(spec, (28, 28), benchmark.WIDTHS, 0)
        assert parameters(benchmark.Stock(spec.encoder, spec.decoder)) == parameters(ours), name
