"""Encoders that are fitted to decoders which are frozen."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from test_gaps import NOISE, Gaussian
from torch import nn

from vae import provenance
from vae.analysis import swap as analysis
from vae.data import dataset
from vae.errors import UserError
from vae.grid import Network, Spec
from vae.measures import losses, swap
from vae.measures.gaps import Inference
from vae.provenance import Origin
from vae.training import checkpoint, loop
from vae.training.objective import Objective

CPU = torch.device("cpu")
FACTS = {"name": "own", "sha256": "0", "image_shape": [4, 4]}


class LinearGaussian(Objective):
    """A likelihood whose mean the decoder's outputs are."""

    reconstruction = Gaussian.reconstruction


def recipe_of(recipe, epochs, objective=Objective):
    changes = {"epochs": epochs, "learning_rate": 0.01, "batch_size": 50, "images": None, "schedule": "cosine"}
    training = replace(recipe.training, **changes)
    return replace(recipe, objective=objective("bernoulli", 0.1, 1.0, "sum"), training=training)


@pytest.fixture(scope="module")
def linear():
    """Images 4×4 from a linear decoder, and that decoder."""
    rng = torch.Generator().manual_seed(0)
    decoder = nn.Sequential(nn.Linear(3, 16), nn.Unflatten(1, (1, 4, 4)))
    with torch.no_grad():
        decoder[0].weight.normal_(0, 0.12, generator=rng)
        decoder[0].bias.fill_(0.5)
        means = decoder(torch.randn(1500, 3, generator=rng)).squeeze(1)
    images = 255 * (means + NOISE * torch.randn(means.shape, generator=rng))
    return images.clamp(0, 255).to(torch.uint8), decoder


def test_a_linear_encoder_reaches_the_best_gaussian_of_a_linear_decoder(linear, recipe):
    images, decoder = linear
    recipe = recipe_of(recipe, 120, LinearGaussian)
    before = swap.digest(decoder)
    trained = loop.train(Spec.parse("L3_LIN_LIN"), 0, images[:1000], recipe, CPU, decoder=decoder)
    assert swap.digest(trained.model.decoder) == swap.digest(decoder) == before
    of = Inference(trained.model, recipe.objective, 1.0, 0).gaps(images[1000:1100])
    assert 0 <= of.amortisation.mean() < 0.1
    assert of.reached.mean() < of.best.mean() + 0.01


def test_on_a_constant_decoder_all_encoders_reach_the_same_and_say_nothing(linear, recipe):
    images, _ = linear

    class Constant(nn.Module):
        def forward(self, codes):
            return torch.zeros(len(codes), 1, 4, 4)

    reached = []
    for encoder in ("LIN", "DNN2", "CNN2"):
        trained = loop.train(
            Spec.parse(f"L3_{encoder}_LIN"), 0, images[:500], recipe_of(recipe, 30), CPU, decoder=Constant()
        )
        measured = losses.evaluate(trained.model, images[500:], Objective("bernoulli", 0.1, 1.0, "sum"), 0)
        assert measured["kld"] < 0.01
        reached.append(measured["elbo"])
    assert np.ptp(reached) < 0.01


@pytest.fixture
def donors(tmp_path, images, recipe):
    """A decoder of digits that a convolutional encoder has trained, and what fits encoders to it."""
    digits = images.numpy()
    recipe = replace(recipe, training=replace(recipe.training, epochs=2))
    data = dataset.split(dataset.Dataset("own", "", digits[:600], digits[600:700]), 100)
    facts = FACTS | {"image_shape": [28, 28]}
    folder = tmp_path / "L3_CNN1_DNN1/seed0"
    trained = loop.train(Spec.parse("L3_CNN1_DNN1"), 0, torch.from_numpy(data.train_images), recipe, CPU)
    measured = losses.measure(Spec.parse("L3_CNN1_DNN1"), 0, trained, losses.Sets(data), recipe)
    checkpoint.save(folder, trained, measured, recipe, facts)
    return swap.Donors(data, facts, recipe, CPU, tmp_path / "kept"), folder


def test_what_is_fitted_resumes_and_comes_out_the_same(donors, monkeypatch):
    fit, folder = donors
    wanted = fit.fit(folder, Network.parse("DNN2"))
    assert (wanted["encoder"], wanted["trained_with"], wanted["decoder"]) == ("DNN2", "CNN1", "DNN1")
    assert wanted["status"] == "ok"
    (kept,) = fit.kept.rglob("unfinished.safetensors")
    monkeypatch.setattr(loop, "terms", None)  # nothing is trained again
    assert fit.fit(folder, Network.parse("DNN2")) == wanted
    kept.unlink()
    with pytest.raises(TypeError):
        fit.fit(folder, Network.parse("DNN2"))


def test_a_decoder_that_diverged_or_was_damaged_has_nothing_fitted_to_it(donors):
    fit, folder = donors
    weights = bytearray((folder / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(weights)
    with pytest.raises(UserError, match=r"weights.safetensors: damaged or replaced"):
        fit.fit(folder, Network.parse("DNN1"))
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(metrics | {"status": "diverged"}))
    row = fit.fit(folder, Network.parse("DNN1"))
    assert row["status"] == "diverged"
    assert {row[name] for name in swap.LOSSES} == {None}


def test_a_decoder_of_another_study_has_nothing_fitted_to_it(donors):
    fit, folder = donors
    fit.facts = fit.facts | {"sha256": "1"}
    with pytest.raises(UserError, match=r"seed0: its decoder was trained on other data than own"):
        fit.fit(folder, Network.parse("DNN1"))


def test_the_table_has_every_encoder_beside_the_one_that_trained_the_decoder(tmp_path):
    names = ["trained_with", "encoder", "seed"]
    fitted = pd.DataFrame(product(("LIN", "DNN1"), ("LIN", "DNN1"), (0, 1)), columns=names)
    fitted = fitted.assign(latent_size=4, decoder="CNN1", status="ok", **dict.fromkeys(swap.LOSSES, 0.0))
    fitted = fitted.assign(reconstruction=95.0 + fitted["seed"], kld=3.0)
    (tmp_path / "swap").mkdir()
    for donor, rows in fitted.groupby("trained_with"):
        origin = Origin("swap")
        provenance.write(tmp_path / f"swap/{donor}_CNN1.json", {"fitted": rows.to_dict("records")}, origin)
    models = fitted[fitted["encoder"] == fitted["trained_with"]].drop(columns="trained_with")
    models = models.assign(effective_beta=2.0, reconstruction=[100.0, 102, 90, 92], kld=5.0)
    table = analysis.gather(tmp_path, {"evaluation": {"swap": True}}, models)
    assert table["loss"].tolist() == [101, 102] * 4
    assert table.set_index(names)["joint_loss"].loc["DNN1", "LIN", 1] == 102
    assert table.set_index(names)["joint_loss"].loc["LIN", "DNN1", 0] == 110
    empty = analysis.gather(Path("nowhere"), {"evaluation": {"swap": False}}, models)
    assert list(empty.columns) == list(table.columns)
    assert empty.empty
