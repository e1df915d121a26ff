from copy import deepcopy
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae import grid
from vae.errors import UserError
from vae.grid import Network, Spec

networks = st.builds(Network, st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=6), st.integers(1, 999))
specs = st.builds(Spec, st.integers(1, 10**6), networks, networks)


@given(specs)
def test_a_label_reads_back_as_its_spec(spec):
    assert Spec.parse(str(spec)) == spec


@given(specs, st.integers(0, 10**9))
def test_a_folder_reads_back_as_its_model(spec, seed):
    assert grid.parse_folder(grid.folder("anywhere/models", spec, seed)) == (spec, seed)


@given(st.text(max_size=20))
def test_what_parses_is_written_the_same(text):
    try:
        assert str(Network.parse(text)) == text
    except UserError as error:
        assert repr(text) in str(error)


@pytest.mark.parametrize("text", ["", "4", "DNN0", "DNN01", "dnn4", "DNN-4", "DNN4 ", "DNN4\n", "DNN٤", None, 4])
def test_what_is_not_a_network(text):
    with pytest.raises(UserError, match="not a network"):
        Network.parse(text)


@pytest.mark.parametrize("label", ["", "L0_DNN1_CNN1", "L5_DNN1", "50_DNN1_CNN1", "L5_DNN1_CNN1_", "L5_DNN1_CNN1/../x"])
def test_what_is_not_a_label(label):
    with pytest.raises(UserError, match="not a model's label"):
        Spec.parse(label)


@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=5, unique=True),
    st.lists(networks.map(str), min_size=1, max_size=5, unique=True),
    st.lists(networks.map(str), min_size=1, max_size=5, unique=True),
)
def test_a_grid_expands_to_every_combination_once(latent_sizes, encoders, decoders):
    specs = grid.expand({"grid": {"latent_sizes": latent_sizes, "encoders": encoders, "decoders": decoders}})
    assert len({str(spec) for spec in specs}) == len(specs) == len(latent_sizes) * len(encoders) * len(decoders)
    assert {spec.latent_size for spec in specs} == set(latent_sizes)
    assert {str(spec.encoder) for spec in specs} == set(encoders)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoders": []}, "grid.encoders is empty"),
        ({"latent_sizes": []}, "grid.latent_sizes is empty"),
        ({"decoders": ["DNN1", "DNN1"]}, "grid.decoders names DNN1 more than once"),
        ({"decoders": ["dnn"]}, "grid.decoders: 'dnn' is not a network"),
    ],
)
def test_a_grid_that_makes_no_sense(change, message):
    with pytest.raises(UserError, match=message):
        grid.expand({"grid": {"latent_sizes": [2], "encoders": ["DNN1"], "decoders": ["DNN1"]} | change})


# As labels have them: what varies, and its value.
variants = st.lists(st.from_regex(grid.VARIANT, fullmatch=True), max_size=3).map("_".join)


@given(specs, variants, st.integers(0, 10**9))
def test_a_label_with_a_variant_reads_back_and_so_does_its_folder(spec, variant, seed):
    spec = replace(spec, variant=variant)
    assert Spec.parse(str(spec)) == spec
    assert grid.parse_folder(grid.folder("anywhere/models", spec, seed)) == (spec, seed)
    assert str(spec).startswith(f"L{spec.latent_size}_{spec.pair}")


def test_a_label_without_a_variant_is_what_it_always_was():
    spec = Spec(50, Network("DNN", 1), Network("CNN", 4))
    assert Spec.parse("L50_DNN1_CNN4") == spec
    assert spec.variant == ""
    assert grid.folder("models", spec, 3).as_posix() == "models/L50_DNN1_CNN4/seed3"
    assert str(grid.folder("models", replace(spec, variant="beta2"), 3)) == "models/L50_DNN1_CNN4_beta2/seed3"


@pytest.mark.parametrize("variant", ["", "2", "Beta2", "beta 2", "beta2_", "_beta2", "beta/2", "beta2\n", "beta2__x1"])
def test_what_is_not_a_variant(variant):
    with pytest.raises(UserError, match="not a model's label"):
        Spec.parse(f"L50_DNN1_CNN4_{variant}")


def study(sweep=None, tune=None, **sides):
    """What the grid reads of a config."""
    sides = {"latent_sizes": [2, 5], "encoders": ["DNN1"], "decoders": ["DNN1", "CNN4"]} | sides
    return {
        "grid": sides | {"sweep": sweep or {}, "tune": tune or {}},
        "networks": {"hidden_units": 256, "encoder_parameters": None, "initialisation": "he"},
        "objective": {"beta": 1.0, "kl_warmup": 0.25},
        "training": {"learning_rate": 0.001, "epochs": 4, "optimizer": "adam", "gradient_clip": 100.0, "seeds": [0]},
        "evaluation": {"budget_fidelity": True},
    }


AXES = {
    "objective.beta": st.floats(0, 1e6) | st.integers(0, 10),
    "training.learning_rate": st.floats(1e-12, 10),
    "training.optimizer": st.sampled_from(["adam", "adamw", "sgd"]),
    "networks.encoder_parameters": st.none() | st.integers(1, 10**9),
}


def digits(value):
    """Twelve digits of a number, by which values are told apart; a word as it is."""
    return f"{value:.12g}" if isinstance(value, int | float) else value


@st.composite
def sweeps(draw):
    """Some axes, each with a few values."""
    keys = draw(st.lists(st.sampled_from(sorted(AXES)), unique=True, max_size=3))
    return {key: draw(st.lists(AXES[key], min_size=1, max_size=4, unique_by=digits)) for key in keys}


@given(sweeps())
def test_variants_are_all_combinations_once_with_that_of_the_config_first(sweep):
    config = study(sweep)

    def values(changed):
        parts = [key.split(".") for key in sweep]
        return tuple(digits(changed[section][name]) for section, name in parts)

    named = grid.variants(config)
    assert next(iter(named.items())) == ("", {})
    usual = values(config)
    wanted = set(product(*({usual[i], *map(digits, axis)} for i, axis in enumerate(sweep.values()))))
    combined = [values(grid.varied(config, differing)) for differing in named.values()]
    assert set(combined) == wanted
    assert len(combined) == len(wanted)
    specs = grid.expand(config)
    assert len({str(spec) for spec in specs}) == len(specs) == 4 * len(named)
    assert all(Spec.parse(str(spec)) == spec and spec.variant in named for spec in specs)


def test_a_variant_is_named_by_what_differs():
    sweep = {"objective.beta": [2, 0.5], "training.learning_rate": [0.003, 0.00001]}
    assert list(grid.variants(study(sweep))) == [
        "", "learning-rate0.003", "learning-rate1e-05",
        "beta2", "beta2_learning-rate0.003", "beta2_learning-rate1e-05",
        "beta0.5", "beta0.5_learning-rate0.003", "beta0.5_learning-rate1e-05",
    ]  # fmt: skip
    assert [
        str(spec) for spec in grid.expand(study({"objective.beta": [2.0]}, latent_sizes=[50], decoders=["CNN4"]))
    ] == [
        "L50_DNN1_CNN4",
        "L50_DNN1_CNN4_beta2",
    ]
    words = {"training.optimizer": ["sgd"], "training.gradient_clip": [None], "networks.encoder_parameters": [40_000]}
    *_, last = grid.variants(study(words))
    assert last == "optimizer-sgd_gradient-clip-none_encoder-parameters40000"
    assert grid.variants(study(words))[last] == {key: value for key, (value,) in words.items()}


def test_a_value_that_the_config_has_is_no_variant():
    assert grid.variants(study({"objective.beta": [1, 2]})) == {"": {}, "beta2": {"objective.beta": 2}}
    assert grid.variants(study({"objective.beta": [1.0]})) == {"": {}}
    assert grid.variants(study({"networks.encoder_parameters": [None]})) == {"": {}}
    assert grid.variants(study()) == {"": {}}


def test_a_varied_config_is_a_copy():
    config = study()
    before = deepcopy(config)
    changed = grid.varied(config, {"objective.beta": 2, "training.epochs": 8})
    assert (changed["objective"]["beta"], changed["training"]["epochs"]) == (2, 8)
    assert changed["objective"]["kl_warmup"] == 0.25
    assert config == before
    assert grid.varied(config, {}) == config


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"objective.bta": [1]}, "objective.bta: unknown key; did you mean 'objective.beta'?"),
        ({"objective.zzzzzz": [1]}, "objective.zzzzzz: unknown key"),
        ({"objective": [1]}, "objective: unknown key"),
        ({"training.seeds": [1]}, "training.seeds: cannot vary between models"),
        ({"evaluation.x": [1]}, "evaluation.x: cannot vary between models"),
        ({"training.epochs": [2, 2.0]}, "training.epochs names 2 more than once"),
        ({7: [1]}, "7: cannot vary between models"),
    ],
)
def test_a_key_that_cannot_be_swept_or_tuned(sweep, message):
    for read, config in ((grid.variants, study(sweep)), (grid.tuned, study(tune=sweep))):
        with pytest.raises(UserError) as error:
            read(config)
        assert str(error.value).startswith(message)


def test_there_are_not_more_variants_than_a_study_can_take():
    axis = list(range(1, 101))
    most = {"objective.beta": axis[1:], "training.epochs": [epochs + 4 for epochs in axis[1:]]}
    assert len(grid.variants(study(most))) == 10_000
    with pytest.raises(UserError, match="more than 10000 combinations of values"):
        grid.variants(study(most | {"training.learning_rate": [1]}))


def test_the_tuned_key_is_the_one_that_is_listed():
    assert grid.tuned(study()) is None
    assert grid.tuned(study(tune={"training.learning_rate": [0.001, 0.01]})) == "training.learning_rate"
    with pytest.raises(UserError, match=r"training\.epochs: is swept too"):
        grid.tuned(study({"training.epochs": [2]}, {"training.epochs": [3]}))
    with pytest.raises(UserError, match=r"objective\.beta: cannot be tuned"):
        grid.tuned(study(tune={"objective.beta": [3]}))


@pytest.mark.parametrize(
    ("encoders", "decoders", "pairs"),
    [
        (
            ["DNN1", "DNN4", "CNN1", "CNN2", "CNN4"],
            ["DNN1", "DNN4", "CNN1", "CNN2", "CNN4"],
            ["CNN1_CNN1", "CNN4_CNN4", "DNN1_DNN1", "DNN4_DNN4"],
        ),
        (["DNN16", "DNN2", "DNN4"], ["DNN4", "DNN1"], ["DNN2_DNN1", "DNN16_DNN4"]),  # by depth, not by letters
        (["DNN4", "DNN1"], ["CNN1", "CNN4", "CNN2"], ["DNN1_CNN1", "DNN4_CNN4"]),
        (["DNN1", "DNN4"], ["DNN2", "CNN1", "CNN3"], ["DNN1_CNN1", "DNN4_CNN3", "DNN1_DNN2", "DNN4_DNN2"]),
        (["CNN2"], ["DNN1"], ["CNN2_DNN1"]),
        (["DNN1"], ["DNN1"], ["DNN1_DNN1"]),
    ],
)
def test_the_budgets_sentinels_are_the_simplest_and_deepest_of_every_family_at_the_largest_size(
    encoders, decoders, pairs
):
    config = study({"objective.beta": [2]}, latent_sizes=[25, 200, 100], encoders=encoders, decoders=decoders)
    assert [str(spec) for spec in grid.sentinels(config)] == [f"L200_{pair}" for pair in pairs]
    assert set(grid.sentinels(config)) <= set(grid.expand(config))
    config["evaluation"]["budget_fidelity"] = False
    assert grid.sentinels(config) == []
