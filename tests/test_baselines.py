"""The baselines of codes: pixels, their principal components, and untrained encoders."""

import numpy as np
import pytest
import torch
from conftest import SAMPLE

from vae import seeds
from vae.data import source
from vae.grid import Network, Spec
from vae.measures import baselines
from vae.models.networks import Networks
from vae.models.vae import build


@pytest.fixture(scope="module")
def probe_images(divided):
    return baselines.ProbeImages(divided, 400, 200)


def test_pixels_and_their_components_say_the_class(probe_images):
    numbers = baselines.pixels(probe_images, [1, 8, 2000])
    for measures in (numbers["pixels"], numbers["pca"]["8"]):
        assert measures["knn_accuracy"] > 0.7
        assert measures["probe_accuracy"] > 0.6
    assert numbers["pca"]["1"]["knn_accuracy"] < 0.5
    # All components are the pixels, turned: the neighbours are the same.
    assert numbers["pca"]["2000"]["knn_accuracy"] == pytest.approx(numbers["pixels"]["knn_accuracy"], abs=0.03)


def test_the_untrained_encoder_is_the_one_that_training_starts_from(probe_images, recipe):
    spec, widths = Spec.parse("L4_CNN2_DNN1"), recipe.networks
    seed = seeds.of_model("weights", 3)
    wanted = build(spec, (28, 28), widths, seed).encoder.state_dict()
    weights = baselines.initial(spec.encoder, 4, (1, 28, 28), widths, 3).state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in wanted.items())


def test_untrained_encoders_are_measured_for_every_size_and_seed(probe_images):
    numbers = baselines.untrained(probe_images, Network.parse("DNN1"), [2, 16], [0, 1], Networks(32, 2))
    assert numbers["2"]["0"] != numbers["2"]["1"]
    assert numbers["2"]["0"]["knn_accuracy"] < numbers["16"]["0"]["knn_accuracy"]


def test_the_baselines_of_binarised_images_are_binarised_images():
    given = {"name": "sample", "path": str(SAMPLE), "validation_images": 100, "binarise": True}
    probe_images = baselines.ProbeImages(source.load(given), 50, 50)
    for images in (probe_images.fit, probe_images.test):
        assert np.unique(images).tolist() == [0, 255]
