"""Exported models run in a browser's runtime, onnxruntime-web, here in node, and compute there what they do here."""

import shutil
import subprocess

import numpy as np
import pytest
from conftest import ROOT

from export import quantise
from export.graphs import export
from export.runtime import open_session, run
from vae.files import write_json
from vae.grid import Spec
from vae.models.networks import Networks
from vae.models.vae import build

WEB = ROOT / "tests/web"

pytestmark = [
    pytest.mark.skipif(not shutil.which("node"), reason="node is not installed"),
    pytest.mark.skipif(
        not (WEB / "node_modules/onnxruntime-web").exists(),
        reason="onnxruntime-web is not installed: npm ci --prefix tests/web",
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, sample):
    folder = tmp_path_factory.mktemp("web")
    model = build(Spec.parse("L5_CNN2_CNN2"), (28, 28), Networks(32, 4), 0).eval()
    export(folder, model, np.array(sample.test_images), {}, check=True)
    write_json(folder / "metrics.json", {"status": "ok"})
    quantise.quantise(folder, sample.train_images)
    return folder


def in_web(graph, values, shapes, scratch):
    values.tofile(scratch / "input")
    outputs = [scratch / f"output{i}" for i in range(len(shapes))]
    dimensions = ",".join(map(str, values.shape))
    command = ["node", WEB / "run.mjs", graph, values.dtype.name, dimensions, scratch / "input", *outputs]
    subprocess.run(command, check=True, capture_output=True)
    return [np.fromfile(output, np.float32).reshape(shape) for output, shape in zip(outputs, shapes)]


@pytest.mark.parametrize(("graph", "tolerance"), [("encoder.onnx", 1e-5), ("encoder.int8.onnx", 0.05)])
def test_the_encoder_codes_the_sample_as_python_does(folder, sample, tmp_path, graph, tolerance):
    images = np.array(sample.test_images)
    wanted = run(open_session(folder / graph, 1), images)
    for part, expected in zip(in_web(folder / graph, images, [(len(images), 5)] * 2, tmp_path), wanted, strict=True):
        assert np.abs(part - expected).max() <= tolerance * np.abs(expected).max()


def test_the_decoder_gives_the_images_that_python_does(folder, tmp_path):
    codes = np.random.default_rng(0).standard_normal((100, 5), np.float32)
    (wanted,) = run(open_session(folder / "decoder.onnx", 1), codes)
    (images,) = in_web(folder / "decoder.onnx", codes, [(100, 28, 28)], tmp_path)
    np.testing.assert_allclose(images, wanted, atol=1e-5)
