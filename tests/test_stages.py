"""The commands one after the other on data that is not MNIST: small colour images without labels."""

import numpy as np
import pytest
from conftest import study
from PIL import Image

from vae.analysis import fidelity, swap, table
from vae.catalogue import FIGURES
from vae.cli import main


def test_colour_images_without_labels_go_all_the_way(colour):
    rows = table.read(colour / "results/tables/models.csv")
    assert len(rows) == 8
    assert (rows["status"] == "ok").all()
    assert rows["reconstruction"].notna().all()
    assert rows["iwae_bound"].notna().all()
    np.testing.assert_allclose(rows["mutual_information_ceiling"], np.log(30))
    assert (rows["mutual_information"] <= rows["mutual_information_ceiling"]).all()
    for name in ("silhouette", "knn_accuracy", "probe_accuracy_pca", "frechet_distance", "classifier_accuracy"):
        assert rows[name].isna().all()
    assert (rows["linear_kld"] > 0).all()
    assert (rows["export_difference"] < 1e-4).all()
    assert "has no labels" in (colour / "results/explore.html").read_text()


@pytest.mark.slow
def test_labelled_binarised_images_and_networks_of_equal_size_have_every_measure(tmp_path):
    study(
        tmp_path,
        np.arange(90) % 3,
        drawn=["effects"],
        dataset={"binarise": True},
        networks={"encoder_parameters": 40_000, "decoder_parameters": 40_000},
        objective={"likelihood": "bernoulli"},
        grid={"latent_sizes": [3]},
        evaluation={"gap_images": 4, "swap": True, "control": True},
    )
    rows = table.read(tmp_path / "results/tables/models.csv")
    assert not rows.isna().any(axis=None)
    assert (rows["frechet_floor"] < rows["frechet_ceiling"]).all()
    assert rows[["encoder_parameters", "decoder_parameters"]].stack().between(38_000, 42_000).all()
    assert "contexts of this grid, with one seed" in (tmp_path / "results/claims.html").read_text()
    assert len(table.read(tmp_path / "results/tables/fidelity.csv", fidelity.COLUMNS).dropna()) == 2
    for label, gap, larger in zip(rows["label"], rows["amortisation_gap"], rows["generalisation_gap"], strict=True):
        with np.load(tmp_path / f"results/models/{label}/seed0/gaps.npz") as values:
            assert values["test_amortisation_gap"].mean() == pytest.approx(gap)
            assert gap - values["train_amortisation_gap"].mean() == pytest.approx(larger)
    swapped = table.read(tmp_path / "results/tables/swap.csv", swap.COLUMNS)
    assert len(swapped) == 2 * len(rows)
    assert not swapped.isna().any(axis=None)
    with np.load(tmp_path / "dataset.npz") as dataset:
        for part in ("test_images", "validation_images"):
            assert np.unique(dataset[part]).tolist() == [0, 255]
        assert np.unique(dataset["train_images"]).size > 2


def test_latents_are_those_of_the_exported_encoder(colour):
    import onnxruntime

    folder = colour / "results/models" / "L3_CNN5_DNN1" / "seed0"
    with np.load(colour / "own.npz") as data:
        images = data["test_images"]
    mean, log_variance = onnxruntime.InferenceSession(folder / "encoder.onnx").run(None, {"images": images})
    with np.load(folder / "latents.npz") as latents:
        np.testing.assert_allclose(latents["mean"], mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(latents["log_variance"], log_variance, rtol=1e-4, atol=1e-6)


def test_a_job_with_too_little_memory_is_refused_and_leaves_nothing(colour, tmp_path, capsys):
    given = ["--config", colour / "config.yaml", "--dataset", colour / "dataset.npz", "--max-memory", 0]
    assert main(["train", *map(str, given), str(tmp_path / "L3_CNN5_DNN1" / "seed0")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("vae: ERROR: L3_CNN5_DNN1: training takes about ")
    assert not list(tmp_path.iterdir())


def test_examples_are_colour_images(colour):
    with np.load(colour / "results/models" / "L3_CNN5_DNN1" / "seed0" / "examples.npz") as examples:
        assert examples["reconstructions"].shape == examples["samples"].shape == (10, 3, 32, 32)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_at_a_width_that_is_read(colour, name):
    with Image.open(colour / f"results/figures/{name}.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape[1] == pytest.approx(8.27 * 150, abs=2)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    assert (colour / f"results/figures/{name}.pdf").read_bytes().startswith(b"%PDF")


def test_reconstructions_of_colour_images_are_drawn_in_colour(colour):
    with Image.open(colour / "results/figures/reconstructions.png") as image:
        pixels = np.asarray(image).astype(int)
    assert (np.ptp(pixels, axis=-1) > 60).mean() > 0.03


@pytest.mark.slow
def test_a_study_in_which_every_model_diverges_goes_all_the_way(tmp_path):
    study(tmp_path, grid={"latent_sizes": [2]}, training={"learning_rate": 1e30})
    rows = table.read(tmp_path / "results/tables/models.csv")
    assert rows["status"].tolist() == ["diverged"] * 4
    assert rows[["reconstruction", "kld", "elbo", "collapsed", "export_difference", "iwae_bound"]].isna().all(axis=None)
    assert "4 diverged" in (tmp_path / "results/claims.html").read_text()
    assert "is not known: each sentinel diverged." in (tmp_path / "results/claims.html").read_text()
    budget = table.read(tmp_path / "results/tables/fidelity.csv", fidelity.COLUMNS)
    assert budget["label"].tolist() == ["L2_CNN5_CNN5", "L2_DNN1_DNN1"]
    assert budget[["loss", "loss_at_twice", "gain", "rank", "rank_at_twice"]].isna().all(axis=None)
