"""What must agree between files: pins and environments, rules and imports, README and code."""

import ast
import re
import runpy
import sys
import tomllib

import pytest
from conftest import ROOT
from packaging.requirements import Requirement

PINS = [line for line in (ROOT / "envs/requirements.txt").read_text().splitlines() if line and not line.startswith("#")]


def test_the_conda_environment_holds_the_same_pins():
    environment = runpy.run_path(str(ROOT / "envs/conda.py"))["environment"]
    assert (ROOT / "envs/environment.yaml").read_text() == environment()


def test_every_pin_is_exact_and_names_no_address():
    for pin in PINS:
        assert re.fullmatch(r"[\w.-]+==[\w.]+( ; .+)?", pin), pin


def test_the_pins_satisfy_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {}
    for requirement in map(Requirement, PINS):
        if requirement.marker is None or requirement.marker.evaluate():
            pinned[requirement.name] = next(iter(requirement.specifier)).version
    for requirement in map(Requirement, project["dependencies"] + project["optional-dependencies"]["dev"]):
        assert requirement.specifier.contains(pinned[requirement.name]), requirement


def imports(tree):
    """Modules of this repository that a piece of code imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("vae", "export"):
            for name in node.names:
                module = f"{node.module}.{name.name}"
                yield module if (ROOT / f"{module.replace('.', '/')}.py").exists() else node.module


def closure(modules):
    found = set()
    waiting = set(modules)
    while waiting:
        module = waiting.pop()
        found.add(module)
        path = ROOT / f"{module.replace('.', '/')}.py"
        path = path if path.exists() else ROOT / module / "__init__.py"
        waiting |= set(imports(ast.parse(path.read_text()))) - found
    return found


PLUMBING = {"vae", "vae.errors", "vae.files", "vae.provenance"}  # how to write a file is no reason to train again


@pytest.mark.parametrize(
    "stage",
    [
        "data",
        "study",
        "pixels",
        "untrained",
        "classifier",
        "train",
        "likelihood",
        "export",
        "latents",
        "project",
        "sample",
        "quantise",
        "rank",
        "figure",
        "leaderboard",
        "claims",
    ],
)
def test_each_rule_depends_on_the_package_files_its_stage_imports(stage):
    (run,) = (
        node
        for node in ast.parse((ROOT / "vae/cli.py").read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == f"run_{stage}"
    )
    rule = next(
        text
        for file in (ROOT / "workflow/rules").glob("*.smk")
        for text in file.read_text().split("\nrule ")
        if text.removeprefix("rule ").startswith(f"{stage}:")
    )
    listed = re.findall(r'"((?:vae|export)/\w+)"', re.search(r"code=code\((.*?)\)", rule, re.S)[1])
    assert {name.replace("/", ".") for name in listed} == closure(imports(run)) - PLUMBING


def test_the_package_knows_nothing_of_snakemake_and_vae_nothing_of_export():
    for path in [*(ROOT / "vae").glob("*.py"), *(ROOT / "export").glob("*.py")]:
        tree = ast.parse(path.read_text())
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not {name for name in names if name and name.split(".")[0] == "snakemake"}, path
        if path.parent.name == "vae" and path.name != "cli.py":
            assert not {name for name in names if name and name.split(".")[0] == "export"}, path


def test_the_example_of_an_own_family_in_the_readme_works(tmp_path, monkeypatch):
    import numpy as np
    import torch

    from export.graphs import export
    from vae import networks, training
    from vae.grid import Spec

    monkeypatch.setattr(networks, "FAMILIES", dict(networks.FAMILIES))
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    (example,) = (block for block in blocks if "@family(" in block)
    exec(example, dict(vars(networks)))
    (name,) = set(networks.FAMILIES) - {"DNN", "CNN"}
    label = f"L3_{name}2_{name}1"
    recipe = training.Recipe(
        networks.Widths(8, 2),
        training.Objective("bernoulli", 0.1, 1.0, "sum"),
        training.Training("adam", 0.001, 10, 1, None),
    )
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28), np.uint8)
    trained = training.train(Spec.parse(label), 0, torch.from_numpy(images), recipe, torch.device("cpu"))
    assert trained.status == "ok"
    export(tmp_path, trained.model.eval(), images, {}, check=True)
    assert (tmp_path / "export.json").exists()


def test_python_is_new_enough_for_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"
    assert sys.version_info >= (3, 11)
