"""A finished study in Python."""

import numpy as np
import pandas as pd
import pytest

import vae
from export import Encoder


@pytest.fixture(scope="module")
def study(colour, tmp_path_factory):
    """The study of colour images, with its dataset and its config where a study has them."""
    results = tmp_path_factory.mktemp("loaded")
    for name in ("tables", "models"):
        (results / name).symlink_to(colour / "results" / name)
    (results / "data").mkdir()
    for suffix in ("npz", "json"):
        (results / f"data/dataset.{suffix}").symlink_to(colour / f"dataset.{suffix}")
    (results / "config.yaml").symlink_to(colour / "merged.yaml")
    return vae.load_study(results)


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
