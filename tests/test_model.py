"""A trained model as an object, and as a transformer of scikit-learn, which has checks of its own."""

import copy
import json
import pickle
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import onnx
import pytest
from conftest import ROOT
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from export import Decoder, Encoder, LatentTransformer, Model
from export.graphs import export
from vae.errors import UserError
from vae.grid import Spec
from vae.models.networks import Networks
from vae.models.vae import build

SHAPE = (3, 8, 10)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (300, *SHAPE), np.uint8)


@pytest.fixture(scope="module")
def folder(images, tmp_path_factory):
    """An exported, untrained model of colour images."""
    folder = tmp_path_factory.mktemp("model") / "L4_DNN1_DNN1" / "seed0"
    folder.mkdir(parents=True)
    built = build(Spec.parse("L4_DNN1_DNN1"), SHAPE, Networks(16, 2), 0).eval()
    export(folder, built, images, {"label": "L4_DNN1_DNN1"}, check=True)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return Model.load(folder)


def test_it_says_what_it_is(model):
    assert (model.label, model.latent_size, model.image_shape) == ("L4_DNN1_DNN1", 4, SHAPE)


def test_reconstructions_are_decoded_codes(model, images):
    mean, _ = model.encode(images)
    reconstructed = model.reconstruct(images)
    assert reconstructed.dtype == np.uint8
    np.testing.assert_array_equal(reconstructed, model.decode(mean))
    probabilities = model.decoder.probabilities(mean)
    assert probabilities.shape == images.shape
    np.testing.assert_array_equal(reconstructed, np.rint(probabilities * 255))
    drawn = model.reconstruct(images, sample=1)
    np.testing.assert_array_equal(drawn, model.decode(model.encode(images, sample=1)))
    assert np.abs(drawn.astype(int) - reconstructed).mean() > 0.1


def test_many_codes_are_decoded_as_few_are(model):
    codes = np.random.default_rng(1).normal(size=(1000, 4))
    together = model.decoder.probabilities(codes)
    apart = np.concatenate([model.decoder.probabilities(codes[i : i + 100]) for i in range(0, 1000, 100)])
    np.testing.assert_allclose(together, apart, atol=1e-6)
    assert model.decode(codes[:0]).shape == (0, *SHAPE)


def test_samples_are_those_of_their_seed(model):
    assert model.sample(5).shape == (5, *SHAPE)
    np.testing.assert_array_equal(model.sample(5, seed=3), model.sample(5, seed=3))
    assert (model.sample(5, seed=3) != model.sample(5, seed=4)).any()


def test_a_line_between_images_begins_and_ends_at_their_reconstructions(model, images):
    line = model.interpolate(images[0], images[1], steps=5)
    np.testing.assert_array_equal(line[[0, -1]], model.reconstruct(images[:2]))
    middle = model.encode(images[:2])[0].mean(0, keepdims=True)
    np.testing.assert_allclose(line[2].astype(int), model.decode(middle)[0], atol=1)


def test_a_traversal_changes_one_dimension(model, images):
    code = model.encode(images[:1])[0]
    code[0, 2] = -3
    across = model.traverse(images[0], 2)
    assert across.shape == (7, *SHAPE)
    np.testing.assert_array_equal(across[0], model.decode(code)[0])
    with pytest.raises(UserError, match="dimension 4: the code has 4, counted from 0"):
        model.traverse(images[0], 4)


@pytest.mark.parametrize(
    ("codes", "error"),
    [
        (np.zeros((2, 3), np.float32), r"codes are floats \[N, 4\], not float32 \[2, 3\]"),
        (np.zeros(4, np.float32), r"codes are floats \[N, 4\], not float32 \[4\]"),
        (np.zeros((2, 4), int), r"codes are floats \[N, 4\], not int64 \[2, 4\]"),
    ],
)
def test_codes_that_are_none_are_refused(model, codes, error):
    with pytest.raises(UserError, match=error):
        model.decode(codes)


def reconstructed(model, images):
    return model.reconstruct(images)


def test_copies_compute_the_same(model, images):
    wanted = model.reconstruct(images)
    for other in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.reconstruct(images), wanted)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(reconstructed, [model] * 8, [images] * 8):
            np.testing.assert_array_equal(found, wanted)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        np.testing.assert_array_equal(pool.submit(reconstructed, model, images).result(), wanted)


def test_what_is_no_decoder_is_refused(folder, tmp_path):
    with pytest.raises(UserError, match="not a decoder of this package"):
        Decoder.load(folder / "encoder.onnx")
    with pytest.raises(UserError, match=r"encoder\.onnx: no such file"):
        Model.load(tmp_path)


@pytest.mark.parametrize(
    ("facts", "warning"),
    [
        ({"status": "ok", "kld": "0.004"}, "L4_DNN1_DNN1: collapsed, .*KLD 0.004 nats"),
        ({"status": "diverged", "kld": "nan"}, "L4_DNN1_DNN1: training diverged"),
        ({"status": "ok", "kld": "20.5"}, None),
        ({}, None),
    ],
)
def test_a_collapsed_or_diverged_model_warns_in_one_line_when_it_is_loaded(folder, tmp_path, caplog, facts, warning):
    for side in ("encoder", "decoder"):
        graph = onnx.load(folder / f"{side}.onnx")
        onnx.helper.set_model_props(graph, {"label": "L4_DNN1_DNN1"} | facts)
        onnx.save(graph, tmp_path / f"{side}.onnx")
    for load in (Model.load, Encoder.load, Decoder.load):
        caplog.clear()
        load(tmp_path)
        assert len(caplog.messages) == (warning is not None)
        assert not warning or re.match(warning, caplog.messages[0])


def test_an_exported_model_says_how_its_training_ended(colour):
    model = Model.load(colour / "results/models/L3_CNN5_DNN1/seed0")
    metrics = json.loads((colour / "results/models/L3_CNN5_DNN1/seed0/metrics.json").read_text())
    for metadata in (model.decoder.metadata, model.encoder.metadata):
        assert (metadata["status"], float(metadata["kld"])) == ("ok", metrics["kld"])


# --- scikit-learn


def test_a_pipeline_reads_classes_from_codes(folder, images):
    rows, labels = images.reshape(len(images), -1), np.arange(len(images)) % 2
    pipeline = make_pipeline(LatentTransformer(folder), LogisticRegression()).fit(rows, labels)
    codes = Model.load(folder).encode(images)[0]
    wanted = LogisticRegression().fit(codes, labels).predict(codes)
    np.testing.assert_array_equal(clone(pipeline).fit(rows, labels).predict(rows), wanted)


def test_codes_have_names_and_threads_change_nothing(folder, images):
    rows = images.reshape(len(images), -1)
    frame = LatentTransformer(folder, n_jobs=2).set_output(transform="pandas").fit_transform(rows)
    assert list(frame) == [f"latenttransformer{i}" for i in range(4)]
    np.testing.assert_array_equal(frame, LatentTransformer(folder).fit_transform(rows.astype(float)))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda rows: rows[:, :-1], "X has 239 features, the encoder takes images of 3×8×10 = 240 pixels"),
        (lambda rows: rows / 255, "whole numbers from 0 to 255"),
        (lambda rows: rows.astype(int) - 1, "whole numbers from 0 to 255"),
        (lambda rows: rows.astype(int) + 1, "whole numbers from 0 to 255"),
    ],
)
def test_what_are_no_images_is_refused(folder, images, change, error):
    with pytest.raises(UserError, match=error):
        LatentTransformer(folder).fit(change(images.reshape(len(images), -1)))


class OfAnyRows(LatentTransformer):
    """The transformer for the checks, which come with rows of few numbers of any size: they become images first."""

    def _images(self, rows):
        pixels = int(np.prod(self.image_shape_))
        grey = 255 / (1 + np.exp(-np.asarray(rows, float)))
        return np.resize(grey.T, (pixels, len(rows))).T.astype(np.uint8).reshape(-1, *self.image_shape_)


# Checks are listed before there is a model; it takes its place in each.
@parametrize_with_checks([OfAnyRows("a model's folder")])
def test_scikit_learn_has_nothing_against_it(estimator, check, folder):
    check(estimator.set_params(model=folder))


def test_the_package_is_imported_without_scikit_learn():
    command = "import sys, export; sys.exit('sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", command], cwd=ROOT, check=True)
