"""Networks of a given number of parameters."""

import pytest
import torch
import yaml
from conftest import ROOT

from vae import config
from vae.errors import UserError
from vae.grid import Spec, expand
from vae.models import networks
from vae.models.networks import Networks
from vae.models.vae import VAE, build, check_grid, parameters
from vae.training import loop, schedule
from vae.training.recipe import Recipe

SCHEMA = yaml.safe_load((ROOT / "vae/config.schema.yaml").read_text())


def of(name):
    return config.complete(yaml.safe_load((ROOT / f"workflow/studies/{name}.yaml").read_text()), SCHEMA)


def test_the_scale_is_the_nearest():
    assert round(10 * networks.fit(lambda scale: round(10 * scale), 57)) == 57
    assert 8 <= 8 * networks.fit(lambda scale: 8 * round(scale), 41) / 5 < 9  # 40 is nearer than 48


def test_no_scale_near_enough_is_an_error_that_names_both_sides():
    with pytest.raises(UserError, match="about 150 parameters; the nearest are 100 and 200"):
        networks.fit(lambda scale: 100 * round(scale), 150)
    with pytest.raises(UserError, match="about 5 parameters"):
        networks.fit(lambda scale: 1000, 5)


def test_all_encoders_of_the_capacity_study_have_equal_parameters_and_all_decoders():
    config = of("capacity")
    widths = Networks(**config["networks"])
    for spec in expand(config):
        with torch.device("meta"):
            model = VAE(spec, (28, 28), widths)
        for side, wanted in ((model.encoder, widths.encoder_parameters), (model.decoder, widths.decoder_parameters)):
            assert abs(parameters(side) - wanted) <= 0.05 * wanted, spec


def test_weights_do_not_depend_on_the_search_for_the_width():
    spec = Spec.parse("L8_DNN2_CNN2")
    sized = build(spec, (28, 28), Networks(256, 8, 100_000, None), 0)
    units = sized.encoder.body[1].out_features
    alone = build(spec, (28, 28), Networks(units, 8), 0)
    for first, second in zip(sized.parameters(), alone.parameters(), strict=True):
        assert torch.equal(first, second)


def test_a_grid_that_cannot_have_the_parameters_is_refused():
    config = of("capacity")
    config["networks"]["encoder_parameters"] = 60_000
    with pytest.raises(UserError, match=r"grid.encoders: CNN1 at latent size 100: no width gives about 60,000 param"):
        check_grid(config, (28, 28))


def test_models_of_other_widths_are_not_stacked(images, recipe, monkeypatch):
    sizes = []

    def train_together(members, images, recipes, device, progress):
        sizes.append({spec.latent_size for spec, _ in members})
        return [loop.train(*member, images, recipes[""], torch.device("cpu")) for member in members]

    monkeypatch.setattr(schedule, "train_together", train_together)
    monkeypatch.setattr(schedule, "free_memory", lambda device: 2**40)
    members = [(Spec.parse(f"L{latent_size}_DNN1_DNN1"), seed) for latent_size in (3, 8) for seed in (0, 1)]
    sized = Recipe(Networks(16, 2, 8000, 8000), recipe.objective, recipe.training)
    assert len(list(schedule.train_all(members, images[:200], {"": sized}, torch.device("cuda")))) == 4
    assert sizes == [{3}, {8}]
