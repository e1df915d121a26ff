"""The commands one after the other on data that is not MNIST: small colour images without labels."""

import numpy as np
import pytest
import yaml
from PIL import Image

from vae import figures, grid, ranking
from vae.cli import main


def study(root, labels=None, **changes):
    """Run every stage on small colour images, without labels if none are given; returns the folder with all of it."""
    rng = np.random.default_rng(0)
    hue = rng.integers(0, 256, (90, 3, 1, 1))
    images = (hue * np.linspace(0.2, 1, 32)).repeat(32, axis=2).astype(np.uint8)
    labels = {} if labels is None else {"train_labels": labels[:60], "test_labels": labels[60:]}
    np.savez(root / "own.npz", train_images=images[:60], test_images=images[60:], **labels)
    config = {
        "dataset": {"name": "own", "path": str(root / "own.npz"), "binarise": False},
        "grid": {"latent_sizes": [1, 3], "encoders": ["DNN1", "CNN5"], "decoders": ["DNN1", "CNN5"]},
        "networks": {"hidden_units": 16, "base_channels": 2},
        "objective": {"likelihood": "gaussian", "sigma": 0.1, "beta": 1.0, "reduction": "sum"},
        "training": {
            "optimizer": "adam", "learning_rate": 0.003, "batch_size": 10, "epochs": 2, "images": None, "seeds": [0],
        },
        "evaluation": {"collapsed_below": 1.0, "active_above": 0.01, "separability_images": None},
        "device": "cpu",
    }  # fmt: skip
    for section, change in changes.items():
        config[section] |= change
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    models = [grid.folder(root / "models", spec, 0) for spec in grid.expand(config["grid"])]

    def vae(stage, *arguments):
        assert main([stage, "--log", str(root / "log"), *map(str, arguments)]) == 0, (root / "log").read_text()

    given, data = ["--config", root / "config.yaml"], ["--dataset", root / "dataset.npz"]
    tables = ["--table", root / "models.csv", "--models", root / "models", "--references", root / "references"]
    held = ["--images", 20, "--probe-images", 30]
    vae("data", *given, root / "dataset.npz")
    vae("study", *given, *data, root / "merged.yaml")
    vae("pixels", *given, *data, *held, root / "references/pixels.json")
    for encoder in config["grid"]["encoders"]:
        vae("untrained", *given, *data, *held, encoder, root / f"references/untrained/{encoder}.json")
    vae("classifier", *data, "--samples", 20, root / "references/classifier.npz")
    vae("train", *given, *data, *models)
    vae("likelihood", *data, "--samples", 3, "--images", 20, *models)
    vae("export", *data, *models)
    vae("latents", *data, "--probe-images", 30, *models)
    vae("project", *data, *models)
    vae("sample", *data, "--samples", 20, "--classifier", root / "references/classifier.npz", *models)
    vae("quantise", *data, *models)
    vae("rank", *given, *tables, "--counts", root / "counts.csv")
    for name in figures.FIGURES:
        vae("figure", *data, *tables, name, root / f"{name}.png", root / f"{name}.pdf")
    vae("claims", "--table", root / "models.csv", root / "claims.csv", root / "effects.csv")
    shown = [root / f"{name}.png" for name in ("collapse_atlas", "effect_sizes")]
    vae("page", "--table", root / "models.csv", "--claims", root / "claims.csv", root / "claims.html", *shown)
    vae("leaderboard", *data, "--table", root / "models.csv", root / "leaderboard.html")
    return root


@pytest.fixture(scope="module")
def colour(tmp_path_factory):
    """A finished study of eight models."""
    return study(tmp_path_factory.mktemp("colour"))


def test_colour_images_without_labels_go_all_the_way(colour):
    rows = ranking.read(colour / "models.csv")
    assert len(rows) == 8
    assert (rows["status"] == "ok").all()
    assert rows["reconstruction"].notna().all()
    assert rows["likelihood_bound"].notna().all()
    np.testing.assert_allclose(rows["mutual_information_ceiling"], np.log(30))
    assert (rows["mutual_information"] <= rows["mutual_information_ceiling"]).all()
    for name in ("silhouette", "knn_accuracy", "probe_accuracy_pca", "frechet_distance", "classifier_accuracy"):
        assert rows[name].isna().all()
    assert (rows["linear_kld"] > 0).all()
    assert (rows["export_difference"] < 1e-4).all()
    assert "has no labels" in (colour / "leaderboard.html").read_text()


def test_labelled_binarised_images_and_networks_of_equal_size_have_every_measure(tmp_path):
    study(
        tmp_path,
        np.arange(90) % 3,
        dataset={"binarise": True},
        networks={"encoder_parameters": 40_000, "decoder_parameters": 40_000},
        objective={"likelihood": "bernoulli"},
        grid={"latent_sizes": [3]},
    )
    rows = ranking.read(tmp_path / "models.csv")
    assert not rows.isna().any(axis=None)
    assert (rows["frechet_floor"] < rows["frechet_ceiling"]).all()
    assert rows[["encoder_parameters", "decoder_parameters"]].stack().between(38_000, 42_000).all()
    assert "With one seed there is no interval" in (tmp_path / "claims.html").read_text()
    with np.load(tmp_path / "dataset.npz") as dataset:
        assert np.unique(dataset["test_images"]).tolist() == [0, 255]
        assert np.unique(dataset["train_images"]).size > 2


def test_latents_are_those_of_the_exported_encoder(colour):
    import onnxruntime

    folder = colour / "models" / "L3_CNN5_DNN1" / "seed0"
    with np.load(colour / "own.npz") as own:
        images = own["test_images"]
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
    with np.load(colour / "models" / "L3_CNN5_DNN1" / "seed0" / "examples.npz") as examples:
        assert examples["reconstructions"].shape == examples["samples"].shape == (10, 3, 32, 32)


@pytest.mark.parametrize("name", figures.FIGURES)
def test_every_figure_is_drawn_at_a_width_that_is_read(colour, name):
    with Image.open(colour / f"{name}.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape[1] == pytest.approx(8.27 * 150, abs=2)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    assert (colour / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_reconstructions_of_colour_images_are_drawn_in_colour(colour):
    with Image.open(colour / "reconstructions.png") as image:
        pixels = np.asarray(image).astype(int)
    assert (np.ptp(pixels, axis=-1) > 60).mean() > 0.03


def test_a_study_in_which_every_model_diverges_goes_all_the_way(tmp_path):
    study(tmp_path, grid={"latent_sizes": [2]}, training={"learning_rate": 1e30})
    rows = ranking.read(tmp_path / "models.csv")
    assert rows["status"].tolist() == ["diverged"] * 4
    assert (
        rows[["reconstruction", "kld", "elbo", "collapsed", "export_difference", "likelihood_bound"]]
        .isna()
        .all(axis=None)
    )
    assert "4 diverged" in (tmp_path / "leaderboard.html").read_text()
