"""Families of architectures that come in a file: what is loaded, refused, noted and asked for again."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, study

import vae
from vae.analysis import table
from vae.catalogue import STAGES
from vae.cli import main
from vae.config import complete
from vae.errors import UserError
from vae.grid import BUILT_IN, Spec
from vae.models.families import FAMILIES
from vae.models.own import FILES, load_families
from vae.models.vae import as_inputs, build, check_grid
from vae.training import checkpoint, loop, schedule
from vae.training.recipe import Recipe
from workflow.lib import plan
from workflow.lib.jobs import Jobs

SCHEMA = yaml.safe_load((ROOT / "vae/config.schema.yaml").read_text())
EXAMPLE = """
from math import prod

from torch import nn

from vae import family


@family("WIDE")
class Wide:
    shallowest = 1

    def deepest(planes):
        return 3

    def encoder(depth, planes, widths):
        units = depth * widths.hidden_units
        return nn.Sequential(nn.Flatten(), nn.Linear(prod(planes), units), nn.Tanh()), units

    def decoder(depth, latent_size, planes, widths):
        units = depth * widths.hidden_units
        layers = nn.Linear(latent_size, units), nn.Tanh(), nn.Linear(units, prod(planes))
        return nn.Sequential(*layers, nn.Unflatten(1, planes))
"""


# Layers with weights that are no matrix, statistics of a batch, and what is no weight at all.
ODD = (
    EXAMPLE.replace("nn.Tanh()), units", "nn.LayerNorm(units), Odd(units), nn.BatchNorm1d(units)), units")
    + """

class Odd(nn.Module):
    def __init__(self, units):
        super().__init__()
        self.weight, self.shift = nn.Parameter(torch.ones(units)), nn.Parameter(torch.zeros(()))
        self.register_buffer("signs", (-1.0) ** torch.arange(units), persistent=False)
        self.along = nn.Sequential(nn.Unflatten(1, (1, units)), nn.Conv1d(1, 1, 3, padding=1), nn.Flatten())

    def forward(self, features):
        return self.along(features * self.signs * self.weight + self.shift)
"""
)
ODD = ODD.replace("from torch import nn", "import torch\nfrom torch import nn")


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The example in a file of the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("my_families.py").write_text(EXAMPLE)
    return Path("my_families.py")


def grid(encoders, decoders=("DNN1",), **changes):
    return complete({"grid": {"latent_sizes": [2, 3], "encoders": encoders, "decoders": [*decoders]}} | changes, SCHEMA)


def test_what_is_built_in_is_said_once():
    assert tuple(FAMILIES) == BUILT_IN


def test_a_file_is_run_once_until_it_changes_and_then_takes_the_place_of_itself(file):
    load_families(file)
    first = FAMILIES["WIDE"]
    load_families(str(file))
    load_families(file.absolute())
    assert FAMILIES["WIDE"] is first
    file.write_text(EXAMPLE.replace("WIDE", "WIDER") + EXAMPLE.replace("return 3", "return 9"))
    load_families(file)
    assert set(FAMILIES) - set(BUILT_IN) == set(FILES) == {"WIDE", "WIDER"}
    assert FAMILIES["WIDE"].deepest((1, 2, 2)) == 9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 +", r"my_families.py, line 1: SyntaxError: invalid syntax"),
        ("\0", r"my_families.py.*: source code (string )?cannot contain null bytes"),
        ("x = 1\ny = x / 0", r"my_families.py, line 2: ZeroDivisionError: division by zero"),
        ("def f():\n    return nothing\n\nf()", r"my_families.py, line 2: NameError: name 'nothing' is not defined"),
        ("import sys; sys.exit(0)", r"my_families.py, line 1: SystemExit: 0"),
        ("import not_installed", r"my_families.py, line 1: ModuleNotFoundError: No module named 'not_installed'"),
        ("x = 1", r"my_families.py: registers no family; write @family\(\"NAME\"\) above a class"),
        ("", r"my_families.py: registers no family"),
        (EXAMPLE + EXAMPLE, r"my_families.py, line \d+: 'WIDE' is the name of two families: choose another one"),
        (EXAMPLE.replace("WIDE", "DNN"), r"my_families.py, line 9: 'DNN' is the name of two families"),
        (
            EXAMPLE.replace("WIDE", "Wide2"),
            r"line 9: 'Wide2' cannot be the name of a family: it has to match \[A-Z\]\+",
        ),
        (EXAMPLE.replace("deepest", "depth"), r"my_families.py, line 9: family WIDE: has no method deepest"),
        (EXAMPLE.replace("def decoder", "def decode"), r"my_families.py, line 9: family WIDE: has no method decoder"),
        (
            EXAMPLE.replace("shallowest", "least"),
            r"line 9: family WIDE: its least depth, `shallowest`, has to be a whole",
        ),
        (
            EXAMPLE.replace("shallowest = 1", "shallowest = -1"),
            r"family WIDE: its least depth, `shallowest`, has to be a",
        ),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_one_line_and_changes_nothing(text, message, file):
    load_families(file)
    before = dict(FAMILIES), dict(FILES)
    file.write_text(text)
    with pytest.raises(UserError, match=f"^families: .*{message}") as error:
        load_families(file)
    assert "\n" not in str(error.value)
    assert (dict(FAMILIES), dict(FILES)) == before


def test_a_file_that_is_not_there_is_refused_with_where_paths_begin(file, tmp_path):
    for name, reason in (("other.py", "No such file or directory"), (".", "Is a directory")):
        with pytest.raises(UserError) as error:
            load_families(name)
        assert str(error.value) == f"families: {name}: {reason}; paths begin at {tmp_path}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("return 3", "return None", r"grid.encoders: my_families.py: WIDE2: TypeError: "),
        ("return 3", "return 1", r"grid.encoders: WIDE2: too deep; WIDE1 is the deepest WIDE for images of 28×28"),
        ("units = depth", "units = missing", r"grid.encoders: my_families.py: WIDE2: NameError: name 'missing' is not"),
        ("nn.Tanh()), units", "nn.Tanh())", r"grid.encoders: my_families.py: WIDE2: "),
        ("nn.Tanh()), units", "nn.Tanh()), 5", r"grid.encoders: my_families.py: WIDE2: RuntimeError: "),
        (
            "nn.Flatten(), nn.Linear(prod(planes)",
            "nn.Linear(planes[-1]",
            r"grid.encoders: my_families.py: WIDE2: ValueError: ",
        ),
        (
            ", nn.Unflatten(1, planes)",
            "",
            r"grid.decoders: WIDE2: makes \[2, 784\] of \[2, 2\], where \[2, 1, 28, 28\] is",
        ),
    ],
)
def test_networks_that_cannot_be_built_or_have_other_shapes_are_refused_in_one_line(old, new, message, file):
    assert old in EXAMPLE
    config = grid(["DNN1", "WIDE2"], ["WIDE2"], families=str(file))
    load_families(file)
    check_grid(config, (28, 28))
    file.write_text(EXAMPLE.replace(old, new))
    load_families(file)
    with pytest.raises(UserError, match=f"^{message}") as error:
        check_grid(config, (28, 28))
    assert "\n" not in str(error.value)


def test_a_plan_knows_the_file_and_is_made_again_where_that_changes(file, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = grid(["DNN1", "WIDE2"], families=str(file))
    assert set(plan.estimates(config, False)["train"]) == {"DNN1_DNN1", "WIDE2_DNN1"}
    file.write_text(EXAMPLE.replace("return 3", "return 1"))
    with pytest.raises(UserError, match="WIDE2: too deep"):
        plan.estimates(config, False)
    file.unlink()
    with pytest.raises(UserError, match=r"my_families\.py: No such file"):
        plan.estimates(config, False)
    monkeypatch.setattr(plan, "find_spec", lambda name: None)  # where Snakemake runs without torch
    with pytest.raises(UserError, match=r"my_families\.py: No such file"):
        plan.estimates(config, False)


def test_the_file_is_an_input_of_the_jobs_that_build_its_networks_alone():
    jobs = Jobs(grid(["DNN1", "WIDE2"], ["DNN1", "WIDE1"], families="my_families.py"))
    for name, stage in STAGES.items():
        inputs = jobs.reads(name)
        assert ("families" in inputs) == bool(stage.builds)
        for pair in ("DNN1_DNN1", "WIDE2_DNN1", "DNN1_WIDE1") if "pair" in stage.builds else ():
            wildcards = SimpleNamespace(**dict(zip(("encoder", "decoder"), pair.split("_"), strict=True)))
            wanted = ["my_families.py"] if "WIDE" in pair or name == "swap" else []
            assert inputs["families"](wildcards) == wanted, (name, pair)
    for name, encoders, decoders in (("check", ["DNN1"], ["WIDE1"]), ("baselines", ["WIDE1"], ["DNN1"])):
        none = Jobs(grid(["DNN1"], families="my_families.py")).reads(name)["families"](None)
        assert (none, Jobs(grid(encoders, decoders, families="f")).reads(name)["families"](None)) == ([], ["f"])
    assert "families" not in Jobs(grid(["DNN1"])).reads("train")


def test_the_stages_that_build_networks_take_the_file():
    modules = {path.stem: path.read_text() for path in (ROOT / "vae/stages").glob("*.py")}
    taking = {name for name, text in modules.items() if '"--families"' in text}
    assert taking == {name for name, stage in STAGES.items() if stage.builds}
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        assert ("{params.families}" in path.read_text()) == (path.stem in taking), path


def test_layers_of_any_kind_are_planned_trained_and_loaded_again(file, images, caplog):
    file.write_text(ODD)
    networks, training = {"hidden_units": 16}, {"epochs": 1, "images": 200}
    config = grid(["WIDE2"], ["WIDE1"], families=str(file), networks=networks, training=training)
    assert all(number > 0 for number in plan._estimates(config, (200, 28, 28), 100, False)["train"]["WIDE2_WIDE1"])
    how, facts = Recipe.of(config), {"image_shape": [28, 28], "name": "own", "sha256": "0"}
    spec = Spec.parse("L3_WIDE2_WIDE1")
    trained = loop.train(spec, 0, images[:200], how, torch.device("cpu"))
    assert trained.status == "ok"
    untrained = build(spec, (28, 28), how.networks, 0).state_dict()
    for name, value in trained.model.named_parameters():
        assert not torch.equal(value, untrained[name]), name
    assert how.training.layer_rates(trained.model)["encoder.body.2.weight"] == 1 / 5  # of five layers with matrices
    checkpoint.save(Path("L3_WIDE2_WIDE1/seed0"), trained, {}, how, facts)
    again, inputs = checkpoint.load(Path("L3_WIDE2_WIDE1/seed0")), as_inputs(images[:5])
    for before, after in zip(trained.model.eval().encoder(inputs), again.encoder(inputs), strict=True):
        assert torch.equal(before, after)
    # In a stack, what is no weight would be trained.
    members = [(spec, 0), (Spec.parse("L4_WIDE2_WIDE1"), 0)]
    assert not schedule.stackable(members, images, {"": how})
    assert "a layer has buffers, which are not weights" in caplog.text


def test_a_training_resumes_under_the_same_file_alone(file, recipe):
    facts = {"image_shape": [28, 28], "name": "own", "sha256": "0"}

    def identities():
        labels = ("L2_DNN1_WIDE1", "L2_DNN1_DNN1")
        return [checkpoint.progress(Path(f"{x}/seed0"), recipe, facts, torch.device("cpu")).identity for x in labels]

    load_families(file)
    before = identities()
    file.write_text(EXAMPLE + "# edited")
    load_families(file)
    assert [same == other for same, other in zip(before, identities(), strict=True)] == [False, True]


def test_every_stage_works_with_a_family_of_a_file_and_its_models_name_it(file, tmp_path, capsys):
    networks = {"encoders": ["DNN1", "WIDE2"], "decoders": ["WIDE1"], "latent_sizes": [2]}
    evaluation = {"gap_images": 4, "swap": True, "control": True}
    study(tmp_path, drawn=["effects", "training_curves"], families=file, grid=networks, evaluation=evaluation)
    rows = table.read(tmp_path / "results/tables/models.csv")
    assert set(rows["label"]) == {"L2_DNN1_WIDE1", "L2_WIDE2_WIDE1"}
    assert (rows["status"] == "ok").all()
    model = tmp_path / "results/models/L2_WIDE2_WIDE1/seed0"
    made = json.loads((model / "provenance.json").read_text())
    load_families(file)
    assert made["families"] == {"WIDE": {"path": "my_families.py", "sha256": FILES["WIDE"].sha256}}
    assert "--families my_families.py" in made["provenance"]["command"]
    FAMILIES.pop("WIDE")
    FILES.clear()
    # What runs the exported graphs needs no file.
    with np.load("dataset.npz") as dataset:
        np.save("images.npy", dataset["test_images"])
    assert main(["encode", str(model), "images.npy", "codes.npy"]) == 0
    assert main(["decode", str(model), "codes.npy", "decoded.npy"]) == 0
    assert main(["provenance", str(model)]) == 0
    assert f"path: {file}" in capsys.readouterr().out
    # What loads the weights does, and that of then.
    with pytest.raises(UserError, match=r"seed0: WIDE is a family of my_families.py; load that file \(--families"):
        checkpoint.load(model)
    vae.load_families(file)
    assert checkpoint.load(model).latent_size == 2
    file.write_text(EXAMPLE + "# edited")
    arguments = ["export", "--dataset", "dataset.npz", "--families", str(file), str(model)]
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(
        r"seed0: trained with another my_families.py \(SHA-256 \w+…, not \w+…\); take the file of then", line
    )
