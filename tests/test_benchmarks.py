"""The programs of `benchmarks/` measure what they say, whatever the clock says."""

import importlib
import json
import shutil
import subprocess
import sys
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ENVIRONMENT, ROOT

from vae.data import dataset
from vae.grid import Spec
from vae.models.vae import build, parameters
from vae.training.objective import kld


@pytest.fixture
def programs(monkeypatch):
    """The programs as modules, importable also by the processes that they start."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    yield importlib.import_module
    for name in ("training", "study", "likelihood", "encoding", "recipe", "gpu", "budget", "jax_peer"):
        sys.modules.pop(name, None)


@pytest.fixture
def benchmark(programs):
    return programs("training")


def test_the_parts_of_a_study_add_up_to_its_wall_clock(programs, tmp_path):
    for name, seconds in {
        "train/A_B": 7,
        "train/B_B": 8,
        "export/A_B": 2,
        "dataset": 1,
        "tables": 3,
        "figures": 4,
        "baselines": 2,
        "classifier": 1,
    }.items():
        file = tmp_path / f"benchmarks/{name}.tsv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"s\th:m:s\n{seconds}\t0:00:0{seconds}\n")
    for seed in (0, 1):
        file = tmp_path / f"models/L1_A_B/seed{seed}/provenance.json"
        file.parent.mkdir(parents=True)
        file.write_text('{"seconds": 6}')
    parts = programs("study").breakdown(tmp_path, wall=20, cores=2)
    assert sum(parts.values()) == 40
    assert {name: value for name, value in parts.items() if value} == {
        "training": 12, "start-up and evaluation of training jobs": 3, "export": 2, "figures": 4, "tables and pages": 3,
        "baselines": 3, "dataset and grid": 1, "Snakemake and idle": 12,
    }  # fmt: skip


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


@pytest.mark.parametrize("name", ["DNN3_DNN2", "CNN3_CNN3", "CNN2_DNN1"])
def test_the_models_in_jax_are_those_of_the_stock_loop_and_learn(benchmark, programs, name):
    pytest.importorskip("jax", reason="JAX is no dependency of the tests")
    peer, spec = programs("jax_peer"), Spec.parse(f"L98_{name}")
    networks, generator = (spec.encoder, spec.decoder), np.random.default_rng(0)
    stock, drawn = benchmark.Stock(*networks), peer.weights(*networks, 0)
    images = (generator.random((256, 28, 28, 1)) > 0.9).astype(np.float32)
    noise = generator.normal(size=(256, 98)).astype(np.float32)

    def planes(side, values, axis):
        """Channels-first, for channels-last values along this axis, where the maps of a side are convolutional."""
        if side.family == "DNN":
            return values
        channels, size = benchmark.WIDE.channels[side.depth], benchmark.EXTENTS[side.depth]
        shape = (*values.shape[:axis], size, size, channels, *values.shape[axis + 1 :])
        return np.moveaxis(values.reshape(shape), axis + 2, axis).reshape(values.shape)

    *body, heads = drawn["encoder"]
    first, *rest = drawn["decoder"]
    of_features = planes(spec.encoder, np.array(heads["weight"]), 0)
    halves = zip(np.split(of_features, 2, axis=1), np.split(np.array(heads["bias"]), 2))
    smallest = {key: planes(spec.decoder, np.array(value), value.ndim - 1) for key, value in first.items()}
    named = [*body, *({"weight": weight, "bias": bias} for weight, bias in halves), smallest, *rest]
    layers = [layer for layer in stock.modules() if hasattr(layer, "weight")]
    with torch.no_grad():
        for layer, values in zip(layers, named, strict=True):
            weight = torch.tensor(np.array(values["weight"]))
            if isinstance(layer, torch.nn.ConvTranspose2d):
                weight = weight.flip(0, 1).permute(2, 3, 0, 1)
            layer.weight.copy_(
                weight.permute(3, 2, 0, 1)
                if isinstance(layer, torch.nn.Conv2d)
                else weight.T
                if weight.ndim == 2
                else weight
            )
            layer.bias.copy_(torch.tensor(np.array(values["bias"])))
        inputs = torch.tensor(images).permute(0, 3, 1, 2)
        features = stock.encoder(inputs)
        mean, log_variance = stock.mean(features), stock.log_variance(features)
        logits = stock.decoder(mean + torch.tensor(noise) * (log_variance / 2).exp())
    nats = torch.nn.functional.binary_cross_entropy_with_logits(logits, inputs)
    wanted = nats + benchmark.OBJECTIVE.beta * kld(mean, log_variance).mean()
    before = peer.loss(networks, drawn, images, noise)
    assert float(before) == pytest.approx(float(wanted), rel=1e-5)
    optimizer, train = peer.training(networks, benchmark.WIDE._replace(batch=64))
    carry = drawn, optimizer.init(drawn), peer.jnp.asarray(images[..., 0] * 255, "uint8")
    for seed in range(3):
        carry = train(carry, peer.jax.random.key(seed))
    assert peer.loss(networks, carry[0], images, noise) < float(wanted) - 0.05


def test_a_part_of_the_recipe_is_worth_what_its_sentinels_lose_without_it(
    programs, colour, tmp_path, monkeypatch, capsys
):
    """A training whose steps go nowhere loses more, and one with nothing changed the same."""
    shutil.copytree(colour / "results", tmp_path / "results")
    shutil.copy(colour / "merged.yaml", tmp_path / "results/config.yaml")
    (tmp_path / "results/data").mkdir()
    for suffix in (".npz", ".json"):
        shutil.copy(colour / f"dataset{suffix}", tmp_path / f"results/data/dataset{suffix}")
    program = programs("recipe")
    changes = {program.WHOLE: {}, "nothing": {}, "training": {"training.learning_rate": 1e-9}}
    monkeypatch.setattr(program, "CHANGES", changes)
    program.main([str(tmp_path / "results"), "--processes", "1", "--json", str(tmp_path / "recipe.json")])
    rows = json.loads((tmp_path / "recipe.json").read_text())
    losses = {(row["change"], row["label"]): row["loss"] for row in rows}
    labels = {row["label"] for row in rows}
    assert len(losses) == 3 * len(labels) > 3
    for label in labels:
        assert losses["nothing", label] == losses[program.WHOLE, label] < losses["training", label] - 1
    assert "| nothing | " + " | ".join(["+0.0"] * len(labels)) in capsys.readouterr().out


@pytest.mark.parametrize("name", ["budget", "encoding", "gpu", "likelihood", "quantisation", "recipe", "study"])
def test_every_program_starts_from_any_folder(name, tmp_path):
    """As its page gives it: by the package that is installed, without a path to it."""
    command = [sys.executable, ROOT / f"benchmarks/{name}.py", "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"usage: {name}.py" in done.stdout


def test_the_stock_models_are_those_of_the_package(benchmark):
    for name in (*benchmark.MODELS, "CNN2_DNN1", "DNN2_CNN4"):
        spec = Spec.parse(f"L98_{name}")
        ours = build(spec, (28, 28), benchmark.WIDE.widths, 0)
        assert parameters(benchmark.Stock(spec.encoder, spec.decoder)) == parameters(ours), name


def test_the_schedule_is_that_of_the_literature_in_proportion(programs):
    program = programs("likelihood")
    assert program.step_size(0) == 0.001
    ends = [(3 ** (i + 1) - 1) / 2 / 3280 for i in range(8)]  # their stages have 3^i of 3,280 epochs
    for i, end in enumerate(ends):
        assert program.step_size(end - 1e-9) == pytest.approx(0.001 * 10 ** (-i / 7))
    assert program.step_size(1.5) == pytest.approx(0.0001)


def test_the_bound_of_the_literature_is_approached(programs, divided, tmp_path, capsys, monkeypatch):
    """By a clock that says six seconds an epoch: ten of them in a minute."""
    ticks = count(step=6)
    monkeypatch.setattr(programs("likelihood"), "perf_counter", lambda: next(ticks))
    dataset.save(divided, tmp_path / "dataset.npz")
    given = ["--dataset", str(tmp_path / "dataset.npz"), "--minutes", "1", "--samples", "20", "--threads", "1"]
    programs("likelihood").main([*given, "--json", str(tmp_path / "curve.json")])
    record = json.loads((tmp_path / "curve.json").read_text())
    assert record["curve"][-1]["bound"] > record["curve"][0]["bound"]
    assert record["epochs"] == len(record["curve"]) == 10
    assert -600 < record["last"]["bound"] < record["last"]["literature"]
    assert "20 codes, 500 images" in capsys.readouterr().out


def test_the_numbers_of_encoding_hang_together(programs, tmp_path, monkeypatch, capsys):
    encoding = programs("encoding")
    monkeypatch.setattr(encoding, "REPEATS", 1)
    monkeypatch.setattr(encoding, "MODELS", ("DNN1",))
    monkeypatch.setattr(encoding, "matrix_limit", lambda on, precision: 1e12)
    encoding.main(["--images", "300", "--json", str(tmp_path / "table.json")])
    rows = json.loads((tmp_path / "table.json").read_text())
    assert {(row["encoder"], row["path"]) for row in rows} == {
        (encoder, path)
        for encoder in encoding.MODELS
        for path in ("DataLoader", "eager", *encoding.RUNTIMES, "auto", "encode_file", "latent-encode", "limit")
    }
    limits = {row["encoder"]: row["images_per_second"] for row in rows if row["path"] == "limit"}
    assert limits["DNN1"] == pytest.approx(1e12 / 2 / (784 * 512 + 512 * 64))
    for row in rows:
        assert row["fraction_of_limit"] == pytest.approx(row["images_per_second"] / limits[row["encoder"]])
    assert "DNN1 on 1: torchscript" in capsys.readouterr().out


def test_the_parts_of_the_acceptance_on_a_gpu_run_and_one_that_fails_stops_no_other(
    programs, tmp_path, monkeypatch, capsys
):
    """On a CPU, with little of everything."""
    gpu = programs("gpu")
    for name, value in {
        "TOGETHER": 2,
        "TRAINED": 300,
        "ENCODED": 3000,
        "SHORT": 1,
        "PRECISIONS": ("fp32", "bf16"),
        "SEEDS": [0],
        "OTHERS": [1],
    }.items():
        monkeypatch.setattr(gpu, name, value)
    monkeypatch.setattr(gpu, "ORDERED", ["DNN1_DNN1", "CNN1_DNN1"])
    for module in (programs("training"), programs("encoding")):
        monkeypatch.setattr(module, "MODELS", ("DNN1",) if module.__name__ == "encoding" else ("DNN1_DNN1",))
    monkeypatch.setattr(programs("training"), "matrix_limit", lambda on, precision: 1e12)
    few = {"latent_sizes": [2], "encoders": ["DNN1"], "decoders": ["DNN1", "CNN1"]}
    study = gpu.study()
    assert (study["training"]["epochs"], study["networks"]["projection"]) == (50, None)
    monkeypatch.setattr(
        gpu, "study", lambda: study | {"grid": few, "training": study["training"] | {"epochs": 1, "seeds": [0, 1]}}
    )

    # What a process of its own does, in this one.
    def start(command, **options):
        code = 1 if "training" in command else gpu.main([str(part) for part in command[2:]])
        return SimpleNamespace(wait=lambda seconds: code)

    monkeypatch.setattr(gpu, "subprocess", SimpleNamespace(Popen=start, TimeoutExpired=subprocess.TimeoutExpired))
    parts = ["training", "encoding", "precision", "paper"]
    assert gpu.main(["--parts", *parts, "--json", str(tmp_path / "all.json")]) == 1
    found = json.loads((tmp_path / "all.json").read_text())
    assert [found[part]["status"] for part in parts] == ["failed, with exit status 1", "ok", "ok", "ok"]
    assert set(found["encoding"]["numbers"]["DNN1"]) == {"torchscript", "native", "computed", "pinned", "pageable"}
    assert -1 <= found["precision"]["numbers"]["bf16"]["tau"] <= 1
    paper = found["paper"]["numbers"]
    assert set(paper["measured"]) == set(paper["predicted"]) == {"DNN1_DNN1", "DNN1_CNN1"}
    assert paper["all"] == pytest.approx(sum(paper["measured"].values()))
    said = capsys.readouterr().out
    assert "| DNN1_CNN1 |" in said
    assert "training: failed, with exit status 1" in said


def test_a_budget_is_judged_by_what_a_longer_one_gains(programs, colour, tmp_path, capsys):
    shutil.copytree(colour / "results", tmp_path / "results")
    shutil.copy(colour / "merged.yaml", tmp_path / "results/config.yaml")
    (tmp_path / "results/data").mkdir()
    for suffix in (".npz", ".json"):
        shutil.copy(colour / f"dataset{suffix}", tmp_path / f"results/data/dataset{suffix}")
    given = ["--epochs", "1", "2", "--plateau", "8", "--images", "40", "--models", "L3_DNN1_DNN1", "L3_CNN5_DNN1"]
    output = tmp_path / "budget.json"
    programs("budget").main(
        [
            str(tmp_path / "results"),
            *given,
            "--processes",
            "1",
            "--set",
            "training.learning_rate=0.01",
            "--json",
            str(output),
        ]
    )
    rows = json.loads(output.read_text())
    assert [row["epochs"] for row in rows] == [1, 2, 8]
    first, *_, last = (row["losses"] for row in rows)
    assert all(first[label] > last[label] for label in first)
    assert rows[-1]["tau"] == 1
    printed = capsys.readouterr().out
    assert f"| 1 | 40 | {rows[0]['seconds']:.0f} | {rows[0]['tau']:.2f} |" in printed
    assert f"+{first['L3_DNN1_DNN1'] - last['L3_DNN1_DNN1']:.1f}" in printed
