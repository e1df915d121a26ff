"""A model as a folder to publish: its card says what the table says, and its test data pass in other runtimes."""

import hashlib
import json
import re
import shutil

import numpy as np
import onnx
import pandas as pd
import pytest
import safetensors.numpy
import yaml
from conftest import laid_out
from onnx import numpy_helper
from test_web import WEB, in_web

from export import Model
from export.runtime import open_session, run
from vae.cli import main

LABEL = "L3_CNN5_DNN1"


@pytest.fixture(scope="module")
def study(colour, tmp_path_factory):
    return laid_out(colour, tmp_path_factory.mktemp("bundled") / "results")


@pytest.fixture(scope="module")
def bundle(study):
    target = study.parent / "bundle"
    assert main(["bundle", str(study / f"models/{LABEL}/seed0"), str(target)]) == 0
    return target


@pytest.fixture
def row(study):
    rows = pd.read_csv(study / "tables/models.csv")
    return rows[rows["label"] == LABEL].iloc[0]


def card(folder):
    """The metadata of the card, and its text."""
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), text


def test_the_card_says_what_the_table_says(bundle, row):
    front, text = card(bundle)
    assert {"license", "library_name", "pipeline_tag", "tags", "model-index"} <= set(front)
    (entry,) = front["model-index"]
    assert entry["name"] == LABEL
    (result,) = entry["results"]
    values = {metric["type"]: metric["value"] for metric in result["metrics"]}
    for key, column in (("elbo", "elbo"), ("kl_divergence", "kld"), ("reconstruction_loss", "reconstruction")):
        assert values[key] == row[column]
        assert f"{row[column]:.4g} |" in text
    assert f"collapsed (KLD below {row['collapsed_below']}) | {'yes' if row['collapsed'] else 'no'} |" in text
    assert f"effective beta | {row['effective_beta']:.4g} |" in text
    assert "more information needed" not in text.lower()
    assert not re.search(r"{{|{%|\bNone\b|\bnan\b|\n\n\n", text)


def test_a_collapsed_model_is_called_so(study, tmp_path):
    table = study / "tables/models.csv"
    rows = pd.read_csv(table)
    label = rows.loc[~rows["collapsed"], "label"].iloc[0]
    changed = tmp_path / "results"
    shutil.copytree(study, changed)
    rows.assign(collapsed=rows["collapsed"] | (rows["label"] == label)).to_csv(
        changed / "tables/models.csv", index=False
    )
    assert main(["bundle", str(changed / f"models/{label}/seed0"), str(tmp_path / "bundle")]) == 0
    _, text = card(tmp_path / "bundle")
    assert f"# {label} (collapsed)" in text
    assert "**Posterior collapse.**" in text


def test_the_bundle_is_a_model(bundle, study):
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), np.uint8)
    wanted = Model.load(study / f"models/{LABEL}/seed0").reconstruct(images)
    np.testing.assert_array_equal(Model.load(bundle).reconstruct(images), wanted)
    weights = safetensors.numpy.load_file(bundle / "model.safetensors")
    kept = safetensors.numpy.load_file(study / f"models/{LABEL}/seed0/weights.safetensors")
    assert weights.keys() == kept.keys()
    assert all((weights[name] == kept[name]).all() for name in kept)
    with safetensors.safe_open(bundle / "model.safetensors", "np") as opened:
        assert opened.metadata()["label"] == LABEL
    config = json.loads((bundle / "config.json").read_text())
    assert (config["encoder"], config["latent_size"], config["image_shape"]) == ("CNN5", 3, [3, 32, 32])


def test_every_file_has_its_hash(bundle):
    sums = dict(line.split("  ")[::-1] for line in (bundle / "SHA256SUMS").read_text().splitlines())
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert files == {*sums, "SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((bundle / name).read_bytes()).hexdigest() == digest


def in_onnxruntime(graph, given, shapes, scratch):
    return run(open_session(graph, 1), given)


def in_onnxruntime_web(graph, given, shapes, scratch):
    if not (shutil.which("node") and (WEB / "node_modules/onnxruntime-web").exists()):
        pytest.skip("onnxruntime-web is not installed: npm ci --prefix tests/web")
    return in_web(graph, given, shapes, scratch)


def in_openvino(graph, given, shapes, scratch):
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    compiled = openvino.Core().compile_model(str(graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [np.asarray(compiled(given)[output]) for output in compiled.outputs]


@pytest.mark.parametrize("runtime", [in_onnxruntime, in_onnxruntime_web, in_openvino])
@pytest.mark.parametrize(("side", "data"), [("encoder", "test_data_set_0"), ("decoder", "test_data_set_0_decoder")])
def test_the_test_data_pass(bundle, runtime, side, data, tmp_path):
    tensors = {path.stem: numpy_helper.to_array(onnx.load_tensor(path)) for path in (bundle / data).glob("*.pb")}
    given = tensors.pop("input_0")
    wanted = [tensors[f"output_{i}"] for i in range(len(tensors))]
    outputs = runtime(bundle / f"{side}.onnx", given, [output.shape for output in wanted], tmp_path)
    for output, expected in zip(outputs, wanted, strict=True):
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_published_leaves_nothing(study, tmp_path, capsys):
    model = study / f"models/{LABEL}/seed0"
    (tmp_path / "there").mkdir()
    assert main(["bundle", str(model), str(tmp_path / "there")]) == 2
    assert "already exists" in capsys.readouterr().err
    changed = tmp_path / "results"
    shutil.copytree(study, changed)
    for name in ("weights.safetensors", "decoder.onnx"):
        broken = changed / f"models/{LABEL}/seed0/{name}"
        sound = broken.read_bytes()
        broken.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
        assert main(["bundle", str(broken.parent), str(tmp_path / "new")]) == 2
        assert f"{name}: damaged or replaced" in capsys.readouterr().err
        broken.write_bytes(sound)
    rows = pd.read_csv(changed / "tables/models.csv")
    rows.assign(status="diverged").to_csv(changed / "tables/models.csv", index=False)
    assert main(["bundle", str(broken.parent), str(tmp_path / "new")]) == 2
    assert "diverged: there is nothing to publish" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results", "there"]
