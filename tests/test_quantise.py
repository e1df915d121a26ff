"""Encoders in 8-bit integers: near to the exact ones, and what they cost is measured as it says."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import NETWORKS

from export import Encoder, quantise
from export.graphs import export
from vae.errors import UserError
from vae.files import write_json
from vae.grid import Spec
from vae.measures import quantisation
from vae.measures.codes import probes
from vae.measures.latents import Latents
from vae.models.networks import Networks
from vae.models.vae import build


def exported(folder, images, spec="L8_CNN2_DNN1", status="ok"):
    model = build(Spec.parse(spec), images.shape[1:], Networks(64, 8), 0).eval()
    folder.mkdir(exist_ok=True)
    export(folder, model, images, {"label": spec}, check=True)
    write_json(folder / "metrics.json", {"status": status})
    return folder


@pytest.mark.parametrize("shape", [(28, 28), (3, 12, 12)])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_quantised_encoder_is_near_the_exact_one_and_computes_in_integers(tmp_path, network, shape):
    images = np.random.default_rng(0).integers(0, 256, (300, *shape), np.uint8)
    folder = exported(tmp_path, images, f"L8_{network}_DNN1")
    quantise.quantise(folder, images)
    exact, quantised = (Encoder.load(folder, runtime).encode(images) for runtime in ("onnx", "int8"))
    largest = 0.1 if network.startswith("RES") else 0.05  # of three times the layers
    for wanted, part in zip(exact, quantised, strict=True):
        assert 0 < np.abs(part - wanted).max() < largest * np.abs(wanted).max()
    graph = onnx.load(folder / "encoder.int8.onnx")
    weights = [weight for weight in graph.graph.initializer if len(weight.dims) > 1]
    assert {weight.data_type for weight in weights} == {onnx.TensorProto.INT8}
    # Activations reach 255: two products of them stay within 16 bits, whichever two a processor adds up.
    largest = max(np.abs(onnx.numpy_helper.to_array(weight).astype(int)).max() for weight in weights)
    assert largest == 64
    assert 2 * 255 * largest < 2**15
    assert (folder / "encoder.int8.onnx").stat().st_size < (folder / "encoder.onnx").stat().st_size
    assert [output.name for output in graph.graph.output] == ["mean", "log_variance"]


def test_grey_levels_are_not_rounded_even_where_training_images_are_dark(tmp_path):
    dark = np.random.default_rng(0).integers(0, 100, (50, 28, 28), np.uint8)
    folder = exported(tmp_path, dark)
    quantise.quantise(folder, dark)
    graph = onnx.load(folder / "encoder.int8.onnx")
    values = {value.name: onnx.numpy_helper.to_array(value) for value in graph.graph.initializer}
    first = next(node for node in graph.graph.node if node.op_type == "QuantizeLinear")
    assert (values[first.input[1]], values[first.input[2]]) == (1, 0)


def test_a_layer_that_takes_no_grey_levels_has_the_range_that_is_seen(tmp_path, sample):
    images, model = np.array(sample.train_images[:200]), build(Spec.parse("L8_CNN2_DNN1"), (28, 28), Networks(64, 8), 0)
    model.encoder.body.insert(0, torch.nn.Softsign())
    export(tmp_path, model.eval(), images, {}, check=True)
    write_json(tmp_path / "metrics.json", {"status": "ok"})
    quantise.quantise(tmp_path, images)
    exact, quantised = (Encoder.load(tmp_path, runtime).encode(images)[0] for runtime in ("onnx", "int8"))
    assert np.abs(quantised - exact).max() < 0.05 * np.abs(exact).max()


def test_the_file_says_what_it_is(tmp_path, sample):
    folder = exported(tmp_path, np.array(sample.test_images[:50]))
    quantise.quantise(folder, sample.train_images[:50])
    facts = onnxruntime.InferenceSession(folder / "encoder.int8.onnx").get_modelmeta().custom_metadata_map
    assert (facts["label"], facts["precision"]) == ("L8_CNN2_DNN1", "8-bit integers")
    assert "onnx.quant.pre_process" not in facts


def test_a_diverged_encoder_stays_as_it_is_and_says_so(tmp_path, sample):
    folder = exported(tmp_path, np.array(sample.test_images[:50]), status="diverged")
    quantise.quantise(folder, sample.train_images[:50])
    exact, quantised = (Encoder.load(folder, runtime).encode(sample.test_images[:5]) for runtime in ("onnx", "int8"))
    np.testing.assert_array_equal(quantised[0], exact[0])
    facts = onnxruntime.InferenceSession(folder / "encoder.int8.onnx").get_modelmeta().custom_metadata_map
    assert "diverged" in facts["precision"]


def test_the_cost_is_that_of_its_definition(tmp_path, sample):
    folder = exported(tmp_path, np.array(sample.test_images[:50]))
    train, test = sample.train_images[:200], sample.test_images[:100]
    quantise.quantise(folder, train)
    exact, quantised = (Encoder.load(folder, runtime).encode(test) for runtime in ("onnx", "int8"))
    scored, labels = np.arange(50), {"fit_labels": sample.train_labels[:200], "labels": sample.test_labels[:100]}
    latents = Latents(*Encoder.load(folder).encode(train), *exact, np.arange(200), scored, **labels)
    fit_mean, few = Encoder.load(folder, "int8").encode(train)[0], [part[scored] for part in quantised]
    accuracies = {"probe_accuracy": 0.5, "knn_accuracy": 0.25}
    cost = quantisation.measure(latents, fit_mean, *few, accuracies) | quantise.described(folder)
    json.dumps(cost, allow_nan=False)
    for name, part, wanted in zip(("mean", "log_variance"), few, exact, strict=True):
        error = np.sqrt(((part - wanted[scored]) ** 2).mean())
        assert cost[f"{name}_rms_error"] == pytest.approx(error, rel=1e-5)
    assert cost["mean_spread"] == pytest.approx(np.sqrt(exact[0][scored].var(0).mean()), rel=1e-5)
    wanted = probes.classes(fit_mean, labels["fit_labels"], few[0], labels["labels"][scored])
    assert cost["probe_accuracy"] == {"float32": 0.5, "int8": wanted["probe_accuracy"]}
    assert cost["knn_accuracy"] == {"float32": 0.25, "int8": wanted["knn_accuracy"]}
    assert cost["bytes"]["int8"] == (folder / "encoder.int8.onnx").stat().st_size


def test_who_is_faster_is_measured_in_turns(monkeypatch, tmp_path):
    """Of six calls, each takes so many seconds by a clock that the test sets."""
    times, calls, now = {"float32": iter([9, 6, 7]), "int8": iter([2, 5, 3])}, [], [0.0]

    def run(kind, images):
        calls.append(kind)
        now[0] += next(times[kind])

    monkeypatch.setattr(
        quantise, "open_session", lambda path, threads: {v: k for k, v in quantise.FILES.items()}[path.name]
    )
    monkeypatch.setattr(quantise, "run", run)
    monkeypatch.setattr(quantise, "perf_counter", lambda: now[0])
    assert quantise.times_as_fast(tmp_path, np.zeros(3), 1) == 6 / 2
    assert calls == 3 * ["float32", "int8"]


def test_int8_is_asked_for_and_never_chosen(tmp_path, sample):
    folder = exported(tmp_path, np.array(sample.test_images[:50]))
    with pytest.raises(UserError, match=r"encoder.int8.onnx: no such file"):
        Encoder.load(folder, "int8")
    quantise.quantise(folder, sample.train_images[:50])
    encoder = Encoder.load(folder)
    encoder.encode(np.array(sample.train_images[:1000]))
    assert encoder.runtime != "int8"
