import json
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from vae import files
from vae.config import complete
from vae.errors import UserError
from vae.models.vae import check_grid

SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())


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
        ({"encoders": ["RNN1"]}, "grid.encoders: unknown family RNN; known are DNN, CNN"),
        ({"encoders": []}, "grid.encoders is empty"),
    ],
)
def test_a_grid_that_cannot_be_built_is_explained(grid, message):
    with pytest.raises(UserError) as error:
        check_grid(complete({"grid": grid}, SCHEMA), (28, 28))
    assert message in str(error.value)


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
