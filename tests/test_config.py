import json
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from snakemake.cli import parse_config

from vae import files
from vae.config import complete
from vae.errors import UserError
from vae.models.vae import check_grid
from workflow.lib.command_line import nested

SCHEMA = yaml.safe_load((ROOT / "vae/config.schema.yaml").read_text())


def test_the_config_file_holds_every_key_of_the_schema_at_its_default():
    assert yaml.safe_load((ROOT / "config.yaml").read_text()) == complete({}, SCHEMA)


def test_every_key_of_the_schema_is_described():
    def leaves(schema, path=""):
        for key, part in schema["properties"].items():
            yield from leaves(part, f"{path}{key}.") if "properties" in part else [(f"{path}{key}", part)]

    assert not [name for name, part in leaves(SCHEMA) if not {"description", "default"} <= set(part)]


@pytest.mark.parametrize("overlay", sorted((ROOT / "workflow/studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_other_studies_are_sound(overlay):
    config = complete(yaml.safe_load(overlay.read_text()), SCHEMA)
    check_grid(config, (28, 28))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"trainig": {}}, "trainig: unknown key; did you mean 'training'?"),
        ({"training": {"epoch": 3}}, "training.epoch: unknown key; did you mean 'epochs'?"),
        ({"training": {"zzz": 3}}, "training.zzz: unknown key; known here are optimizer"),
        (
            {"training": {"epochs": "x"}},
            "training.epochs: 'x' is not of type 'integer' (passes over the training images",
        ),
        ({"training": {"epochs": "3"}}, "training.epochs: '3' is text; write a number without quotes"),
        ({"training": {"learning_rate": "1e-5"}}, "training.learning_rate: '1e-5' is text; write a number"),
        ({"training": {"epochs": 4.0}}, "training.epochs: 4.0 is not of type 'integer'"),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate: nan is not of type 'number'"),
        ({"objective": {"beta": True}}, "objective.beta: True is not of type 'number'"),
        ({"training": {"epochs": 0}}, "training.epochs: 0 is less than the minimum of 1"),
        ({"training": {"seeds": []}}, "training.seeds: [] should be non-empty (a list of seeds"),
        ({"training": 3}, "training: 3 is not of type 'object'"),
        ({"grid": {"latent_sizes": [25, "50"]}}, "grid.latent_sizes[1]: '50' is text; write a number"),
        ({"grid": {"encoders": "DNN1"}}, "grid.encoders: 'DNN1' is not of type 'array' (a list of encoders"),
        ({"objective": {"reduction": "average"}}, "objective.reduction: 'average' is not one of ['sum', 'mean']"),
        ({"dataset": {"name": "../x"}}, "dataset.name: '../x' does not match"),
    ],
)
def test_a_config_that_is_wrong_is_explained_in_one_line(config, message):
    with pytest.raises(UserError) as error:
        complete(config, SCHEMA)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


KEYS = st.sampled_from([*SCHEMA["properties"], "epochs", "x"])
LEAVES = st.none() | st.integers() | st.text(max_size=5)


@given(st.recursive(LEAVES, lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=8))
def test_any_config_is_completed_or_explained(config):
    try:
        completed = complete(config, SCHEMA)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert set(completed) == set(SCHEMA["properties"])


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"decoders": ["DNN1", "CNN6"]}, "grid.decoders: CNN6: too deep; CNN5 is the deepest CNN for images of 28×28"),
        ({"encoders": ["DNN17"]}, "grid.encoders: DNN17: too deep"),
        ({"encoders": ["RNN1"]}, "grid.encoders: unknown family RNN; known are LIN, DNN, CNN, RES"),
        ({"encoders": []}, "grid.encoders is empty"),
    ],
)
def test_a_grid_that_cannot_be_built_is_explained(grid, message):
    with pytest.raises(UserError) as error:
        check_grid(complete({"grid": grid}, SCHEMA), (28, 28))
    assert message in str(error.value)


VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
NESTED = st.recursive(VALUES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@given(st.dictionaries(st.sampled_from(["grid", "training"]), st.lists(NESTED) | st.dictionaries(st.text(), NESTED)))
def test_nested_values_of_the_command_line_keep_their_types(config):
    words = [f"{key}={json.dumps(value)}" for key, value in config.items()]
    assert nested([*words, "threads=2"], parse_config([*words, "threads=2"])) == config


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["training={epochs: 3, images: null}"], {"training": {"epochs": 3, "images": None}}),
        (["training={epochs: 3}", "training={'images': 5}"], {"training": {"epochs": 3, "images": 5}}),
        (["grid={encoders: [DNN1]}", "device=cpu"], {"grid": {"encoders": ["DNN1"]}}),
        (["training={epochs: 3"], {}),
        (["training=", "threads=2"], {}),
        (None, {}),
    ],
)
def test_nested_values_may_be_yaml_and_others_are_left_to_snakemake(words, values):
    assert nested(words, parse_config(words)) == values


def test_a_config_that_a_program_gives_to_snakemake_is_left_as_it_is():
    assert nested(["training={'epochs': '3'}"], {"training": {"epochs": "3", "images": None}}) == {}
    assert nested(["a={'epochs': 3}"], {"a": {"epochs": 3}}) == {}


def test_a_config_is_read_from_a_file_or_inline(tmp_path):
    (tmp_path / "config.yaml").write_text("a: 1")
    assert files.read_config(str(tmp_path / "config.yaml")) == {"a": 1} == files.read_config(json.dumps({"a": 1}))
    assert files.read_config(json.dumps({"a": 1e-30})) == {"a": 1e-30}  # 1e-30 is text to a reader of YAML 1.1
    (tmp_path / "list.yaml").write_text("[1]")
    (tmp_path / "broken.yaml").write_text("a: [\n")
    for name in ("list.yaml", "broken.yaml", "missing.yaml"):
        with pytest.raises(UserError, match=name) as error:
            files.read_config(str(tmp_path / name))
        assert "\n" not in str(error.value)


def test_the_config_is_read_where_neither_numpy_nor_torch_is():
    """Snakemake may run in an environment of its own, with the jobs in that of envs/environment.yaml."""
    blocked = "import sys; sys.modules |= dict.fromkeys(['numpy', 'torch']); import vae.config, workflow.lib.jobs"
    subprocess.run([sys.executable, "-c", blocked], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("where", "axes", "message"),
    [
        ("sweep", {"objective.bta": [2]}, "objective.bta: unknown key; did you mean 'objective.beta'?"),
        ("tune", {"training.learning_rat": [2]}, "training.learning_rat: unknown key; did you mean 'training.learn"),
        ("sweep", {"training.seeds": [1]}, "training.seeds: cannot vary between models; keys of networks, objective"),
        ("tune", {"training.seeds": [1]}, "training.seeds: cannot vary"),
        ("tune", {"objective.beta": [2]}, "objective.beta: cannot be tuned; keys of training can"),
        ("tune", {"networks.hidden_units": [2]}, "networks.hidden_units: cannot be tuned; keys of training can"),
        ("sweep", {"evaluation.collapsed_below": [1]}, "evaluation.collapsed_below: cannot vary"),
        ("tune", {"dataset.name": ["mnist"]}, "dataset.name: cannot vary"),
        ("sweep", {"grid.latent_sizes": [1]}, "grid.latent_sizes: cannot vary"),
        ("sweep", {7: [1]}, "7: not a key, which is text"),
        ("tune", {None: [1]}, "None: not a key, which is text"),
        ("sweep", {"objective.beta": [2, 3, 2.0]}, "objective.beta names 2 more than once"),
        ("tune", {"training.learning_rate": [0.1, 0.1]}, "training.learning_rate names 0.1 more than once"),
        ("sweep", {"objective.beta": [2, -1]}, "objective.beta: -1 is less than the minimum of 0 (weight of the KLD"),
        ("sweep", {"objective.beta": [None]}, "objective.beta: None is not of type 'number'"),
        ("sweep", {"training.optimizer": ["rmsprop"]}, "training.optimizer: 'rmsprop' is not one of ['adam', "),
        ("tune", {"training.epochs": [4, 0]}, "training.epochs: 0 is less than the minimum of 1"),
        ("tune", {"training.learning_rate": ["1e-5"]}, "training.learning_rate: '1e-5' is text; write a number"),
        (
            "sweep",
            {key: list(range(2, 50)) for key in ("training.epochs", "training.batch_size", "networks.hidden_units")},
            "more than 10000 combinations of values",
        ),
    ],
)
def test_what_cannot_be_swept_or_tuned_is_explained_in_one_line(where, axes, message):
    with pytest.raises(UserError) as error:
        complete({"grid": {where: axes}}, SCHEMA)
    assert str(error.value).startswith(f"grid.{where}: {message}")
    assert "\n" not in str(error.value)


def test_a_key_is_either_swept_or_tuned_and_only_one_is_tuned():
    with pytest.raises(UserError, match=r"^grid\.tune: training\.epochs: is swept too"):
        complete({"grid": {"sweep": {"training.epochs": [2]}, "tune": {"training.epochs": [3]}}}, SCHEMA)
    with pytest.raises(UserError, match=r"^grid\.tune: .* has too many properties"):
        complete({"grid": {"tune": {"objective.beta": [3], "training.epochs": [1]}}}, SCHEMA)


@pytest.mark.parametrize("values", [[], 2, [True], [[2]], {"a": 1}])
@pytest.mark.parametrize("where", ["sweep", "tune"])
def test_an_axis_is_a_list_of_values(where, values):
    with pytest.raises(UserError) as error:
        complete({"grid": {where: {"objective.beta": values}}}, SCHEMA)
    assert str(error.value).startswith(f"grid.{where}['objective.beta']")
    assert "\n" not in str(error.value)


def test_a_sweep_and_a_tuned_key_are_taken_as_they_are():
    axes = {"sweep": {"objective.beta": [0, 2], "networks.encoder_parameters": [None, 40_000]},
            "tune": {"training.learning_rate": [0.001, 0.003]}}  # fmt: skip
    config = complete({"grid": axes}, SCHEMA)
    assert {key: config["grid"][key] for key in axes} == axes
    assert complete({}, SCHEMA)["grid"]["sweep"] == complete({}, SCHEMA)["grid"]["tune"] == {}


AXES = st.dictionaries(
    st.sampled_from(["objective.beta", "training.epochs", "training.seeds", "training", "x.y", "", "networks.x.y"]),
    st.none() | st.lists(st.none() | st.integers(-1, 5) | st.floats() | st.sampled_from(["adam", "2"]), max_size=3),
    max_size=3,
)


@given(AXES, AXES)
def test_any_sweep_is_completed_or_explained(sweep, tune):
    try:
        config = complete({"grid": {"sweep": sweep, "tune": tune}}, SCHEMA)
    except UserError as error:
        assert str(error).startswith("grid.")
        assert "\n" not in str(error)
    else:
        assert set(sweep) | set(tune) <= {"objective.beta", "training.epochs"}
        check_grid(config, (28, 28))
