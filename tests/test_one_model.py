"""One model in Python, from images to a folder that encodes."""

import doctest
import re

import nbformat
import numpy as np
import pytest
import torch
from conftest import ROOT
from matplotlib import pyplot as plt

import export
import vae
from vae.training import loop, one_model
from vae.training.recipe import Recipe

IMAGES = np.random.default_rng(0).integers(0, 256, (300, 3, 8, 8), np.uint8)
CONFIG = {"networks": {"hidden_units": 16}, "objective": {"reduction": "sum"}, "training": {"epochs": 2}}


@pytest.fixture(scope="module")
def trained():
    return vae.train("L3_DNN1_CNN1", IMAGES, CONFIG, seed=4)


def test_the_recipe_is_that_of_the_default_study_but_for_what_is_asked_for(trained):
    complete = vae.config.complete(CONFIG, vae.config.schema())
    assert (
        complete["training"]["learning_rate"]
        == vae.config.complete({}, vae.config.schema())["training"]["learning_rate"]
    )
    alike = loop.train(
        vae.Spec.parse("L3_DNN1_CNN1"), 4, torch.from_numpy(IMAGES), Recipe.of(complete), torch.device("cpu")
    )
    assert len(trained.history) == 2
    for name, value in alike.model.state_dict().items():
        assert torch.equal(value, trained.model.state_dict()[name])
    again = vae.train("L3_DNN1_CNN1", torch.from_numpy(IMAGES), CONFIG, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), trained.model.parameters()))


def test_it_is_saved_as_a_folder_that_encodes(trained, tmp_path):
    export.save(trained, tmp_path / "mine", IMAGES)
    model = export.Model.load(tmp_path / "mine")
    assert (model.label, model.image_shape) == ("L3_DNN1_CNN1", (3, 8, 8))
    mean, log_variance = model.encode(IMAGES)
    with torch.inference_mode():
        wanted = trained.model.encoder(torch.from_numpy(IMAGES) / 255)
    np.testing.assert_allclose(mean, wanted[0], atol=1e-5)
    kld = ((mean**2 + np.exp(log_variance) - 1 - log_variance) / 2).sum(1).mean()
    assert float(model.encoder.metadata["kld"]) == pytest.approx(kld, rel=1e-4)


@pytest.mark.parametrize(
    ("label", "images", "config", "error"),
    [
        ("L3_DNN1", IMAGES, {}, "L3_DNN1"),
        ("L3_DNN1_DNN1_beta2", IMAGES, {}, "is of a sweep; give the label without 'beta2'"),
        ("L3_DNN1_CNN9", IMAGES, {}, "CNN9"),
        ("L3_DNN1_DNN1", IMAGES / 255, {}, r"images are uint8 .*convert with np.rint\(images \* 255\)"),
        (
            "L3_DNN1_DNN1",
            IMAGES,
            {"grid": {}},
            "config: grid: one model has the sections networks",
        ),
        ("L3_DNN1_DNN1", IMAGES, {"training": {"epoch": 3}}, "training.epoch: unknown key; did you mean 'epochs'"),
        ("L3_DNN1_DNN1", IMAGES, {"training": {"images": 301}}, "training.images: 301 are asked for"),
    ],
)
def test_what_cannot_be_trained_is_one_line(label, images, config, error):
    with pytest.raises(vae.UserError, match=error):
        vae.train(label, images, config)


def test_the_example_of_the_docstring_works():
    assert doctest.testmod(one_model).failed == 0


def test_the_lines_of_the_docs_work(tmp_path, monkeypatch):
    section = (ROOT / "docs/how-to/use-models-in-python.md").read_text().split("## Train one model")[1]
    (lines,) = re.findall(r"```python\n(.*?)```", section.split("\n## ")[0], re.S)
    monkeypatch.chdir(tmp_path)
    names = {"images": IMAGES[:, 0]}
    exec(lines.replace('"epochs": 20', '"epochs": 1'), names)
    assert names["model"].label == "L20_DNN1_CNN2"
    assert names["model"].sample(2).shape == (2, 8, 8)


def test_the_notebook_runs_and_shows_a_collapse(tmp_path, monkeypatch, caplog):
    cells = nbformat.read(ROOT / "examples/collapse.ipynb", 4).cells
    nbformat.validate(nbformat.read(ROOT / "examples/collapse.ipynb", 4))
    monkeypatch.chdir(tmp_path)
    names = {}
    for cell in cells:
        if cell.cell_type == "code":
            exec(cell.source.rstrip(";"), names)
    plt.close("all")
    last = names["last"]
    assert last.loc["kld", "mean"] < 0.1 < 10 < last.loc["kld", "sum"]
    assert [message for message in caplog.messages if "collapsed, its codes carry" in message]
