"""A finished study in Python."""

import re

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, laid_out

import vae
from export import Encoder


@pytest.fixture(scope="module")
def study(colour, tmp_path_factory):
    return vae.load_study(laid_out(colour, tmp_path_factory.mktemp("loaded") / "results"))


def test_tables_and_config_are_those_of_the_files(study):
    pd.testing.assert_frame_equal(study.models, pd.read_csv(study.results / "tables/models.csv"))
    assert study.claims["claim"].is_unique
    assert set(study.claims["verdict"]) <= {"supported", "contradicted", "equivalent", "undecided", "identity"}
    assert study.table("counts").equals(pd.read_csv(study.results / "tables/counts.csv"))
    assert len(study.models) == len(study.config["training"]["seeds"]) * study.models["label"].nunique()


def test_latents_are_what_the_encoder_says_of_the_test_images(study):
    label = study.models["label"][0]
    mean, log_variance = Encoder.load(study.folder(label)).encode(study.dataset.test_images)
    latents = study.latents(label)
    np.testing.assert_allclose(latents["mean"], mean, atol=1e-5)
    np.testing.assert_allclose(latents["log_variance"], log_variance, atol=1e-5)
    validation = study.dataset.validation_images[latents["fit_indices"]]
    np.testing.assert_allclose(latents["fit_mean"], Encoder.load(study.folder(label)).encode(validation)[0], atol=1e-5)
    assert study.history(label)["epoch"].tolist() == list(range(1, study.config["training"]["epochs"] + 1))


def test_the_examples_of_the_docs_work(study, tmp_path, monkeypatch):
    """On models of colour images, by other names; the doubts that they are trained are none of this test."""
    page = (ROOT / "docs/how-to/use-models-in-python.md").read_text()
    # Another test trains.
    blocks = [block for block in re.findall(r"```python\n(.*?)```", page, re.S) if "vae.train" not in block]
    text = "\n".join(blocks).replace("L50_DNN1_CNN4", "L3_DNN1_CNN5").replace("dimension=3", "dimension=2")
    (tmp_path / "results").symlink_to(study.results)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(text, names)
    assert names["images"].shape == names["again"].shape == names["decoded"].shape == (10, 3, 32, 32)
    assert (len(names["path"]), len(names["strip"])) == (8, 7)
    assert list(names["frame"]) == [f"latenttransformer{i}" for i in range(3)]
    assert names["codes"].shape == (30, 3)


def test_what_is_not_there_is_named(study, tmp_path):
    with pytest.raises(vae.UserError, match=r"no finished study .has no tables/models.csv"):
        vae.load_study(tmp_path)
    label = study.models["label"][0]
    with pytest.raises(vae.UserError, match=f"has no model {label}x; did you mean {label}"):
        study.folder(f"{label}x")
    with pytest.raises(vae.UserError, match="was trained with the seeds 0"):
        study.latents(label, 99)
    with pytest.raises(vae.UserError, match=r"tables/none\.csv: not a table"):
        study.table("none")
