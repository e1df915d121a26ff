"""What must agree between files: pins and environments, rooms and imports, README and code."""

import ast
import os
import re
import runpy
import subprocess
import sys
import tomllib
from unittest.mock import patch

import pytest
import yaml
from conftest import ROOT, own_family
from packaging.requirements import Requirement

import vae
from vae import catalogue
from vae.models import families, own

# Extras that no study runs on, which have no pins.
UNPINNED = ("benchmarks", "rich", "track")
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
    extras = project["optional-dependencies"]
    lines = project["dependencies"] + [line for extra in extras if extra not in UNPINNED for line in extras[extra]]
    for requirement in [each for each in map(Requirement, lines) if each.name != project["name"]]:
        assert requirement.specifier.contains(pinned[requirement.name]), requirement


def read(path):
    return yaml.safe_load((ROOT / path).read_text())


def test_the_reference_of_the_config_is_made_from_the_schema():
    made = runpy.run_path(str(ROOT / "config/readme.py"))["readme"]()
    assert (ROOT / "config/README.md").read_text() == made
    sections = read("vae/config.schema.yaml")["properties"]
    for key in (key for name, part in sections.items() for key in part.get("properties", [name])):
        assert made.count(f"| `{key}` |") == 1


def test_the_snakemake_workflow_catalogue_lists_it_with_standardised_usage():
    """By the conditions of scripts/generate-catalog.py and docs/about/adding_workflows.md of that catalogue,
    https://github.com/snakemake/snakemake-workflow-catalog; that the workflow passes its linter and snakefmt is tested
    elsewhere, and by CI.
    """
    readme = (ROOT / "README.md").read_text().lower()
    assert "snakemake" in readme
    assert "workflow" in readme
    assert (ROOT / "workflow/Snakefile").is_file()
    assert list((ROOT / "workflow/rules").glob("*.smk"))
    assert (ROOT / "config/README.md").read_text().startswith("# ")
    usage = read(".snakemake-workflow-catalog.yml")["usage"]
    assert set(usage) <= {"mandatory-flags", "software-stack-deployment", "report"}
    assert set(usage["software-stack-deployment"]) <= {"conda", "apptainer", "singularity", "apptainer+conda"}
    # What it says is so.
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    assert usage["software-stack-deployment"]["conda"] == ("conda:" in rules)
    assert not usage["software-stack-deployment"]["apptainer"]
    assert "container:" not in rules
    assert usage["report"] == ("report(" in rules)


def test_the_version_is_the_same_everywhere_and_has_its_changes():
    citation = read("CITATION.cff")
    versions = re.findall(r"^## \[(\S+)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert versions[0] == (citation["version"], str(citation["date-released"]))
    assert citation["version"] == vae.__version__


def test_the_citation_names_the_paper_as_the_readme_does():
    """With the keys that the Citation File Format 1.2.0 requires of a file, and of a reference."""
    citation = read("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    (paper,) = citation["references"]
    assert {"type", "title", "authors"} <= set(paper)
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"*{paper['title']}* ({paper['year']})" in readme


def test_ci_and_the_hooks_of_commits_run_what_the_readme_of_contributors_says():
    (job,) = read(".github/workflows/main.yaml")["jobs"].values()
    assert job["steps"][-1] == {"run": ".ci/run"}
    assert os.access(ROOT / ".ci/run", os.X_OK)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert min(job["strategy"]["matrix"]["python"]) == project["requires-python"].removeprefix(">=")
    (local,) = read(".pre-commit-config.yaml")["repos"]
    checks = (ROOT / ".ci/run").read_text(), (ROOT / "CONTRIBUTING.md").read_text()
    for hook in local["hooks"]:
        words = hook["entry"].removesuffix(" --force-exclude")
        if words.startswith("python "):
            assert (ROOT / words.split()[1]).is_file()
        else:
            assert all(re.search(rf"^(.*&& )?{words}\b", check, re.M) for check in checks), words


def test_the_templates_of_issues_are_whole():
    forms = [path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"]
    assert len(forms) == 2
    for form in map(read, forms):
        assert {"name", "description", "body"} <= set(form)
        ids = [field["id"] for field in form["body"]]
        assert len(set(ids)) == len(ids)


# Who may know whom: a room may import those that it names, and itself. The ground floor is all modules of `vae` that
# lie in no room, and everybody may import it.
GROUND = "ground floor"
MAY_IMPORT = {
    GROUND: set(),
    "vae.data": {GROUND},
    "vae.models": {GROUND, "vae.data"},
    "vae.training": {GROUND, "vae.data", "vae.models"},
    "vae.measures": {GROUND, "vae.data", "vae.models", "vae.training"},
    "vae.analysis": {GROUND, "vae.data", "vae.models", "vae.training", "vae.measures"},
    "vae.report": {GROUND, "vae.data", "vae.models", "vae.training", "vae.measures", "vae.analysis"},
    "export": {GROUND, "vae.data", "vae.models", "vae.training"},
    "vae.stages": {
        GROUND, "vae.data", "vae.models", "vae.training", "vae.measures", "vae.analysis", "vae.report", "export",
    },
    "vae.tools": {GROUND, "vae.analysis", "vae.report", "export"},
    "workflow": {GROUND, "vae.data", "vae.models", "vae.training", "vae.measures", "snakemake"},
}  # fmt: skip
ROOMS = [room for room in MAY_IMPORT if room != GROUND]


def imported(path):
    """What a file imports, anywhere in its code: modules, and names of modules."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_in(module, place):
    return module == place or module.startswith(f"{place}.")


def room_of(module):
    return next((room for room in ROOMS if is_in(module, room)), GROUND if is_in(module, "vae") else None)


SOURCES = sorted(path for folder in ("vae", "export", "workflow/lib") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_room_imports_what_it_may(path):
    room = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if path.name == "cli.py":  # the one place that finds stages and tools by their names
        room = "vae.stages"
    may = MAY_IMPORT[room]
    for module in imported(path):
        if room_of(module) in (None, room):
            assert module.split(".")[0] != "snakemake" or "snakemake" in may, f"{path} imports {module}"
        else:
            ground = GROUND in may and room_of(module) == GROUND
            assert ground or any(is_in(module, place) for place in may), f"{path} imports {module}"


def test_the_ground_floor_needs_no_numerical_package():
    heavy = {"torch", "sklearn", "matplotlib", "scipy", "onnxruntime"}
    ground = [path for path in SOURCES if path.parent == ROOT / "vae"]
    assert len(ground) > 5
    for path in ground:
        assert not {module.split(".")[0] for module in imported(path)} & heavy, path


def test_every_stage_has_a_module_and_a_rule_of_its_name_and_every_tool_a_module():
    def names(pattern):
        return {path.stem for path in ROOT.glob(pattern)}

    assert names("vae/stages/*.py") - {"__init__"} == set(catalogue.STAGES)
    assert names("workflow/rules/*.smk") - {"common"} == set(catalogue.STAGES)
    assert names("vae/tools/*.py") - {"__init__"} == set(catalogue.TOOLS)


def test_the_public_names_are_there_and_cost_nothing_before_they_are_asked_for():
    for name in vae.__all__:
        assert getattr(vae, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        vae.nothing  # noqa: B018
    command = [sys.executable, "-c", "import sys, vae; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"]
    subprocess.run(command, cwd=ROOT, check=True)


def test_nothing_edits_the_path_of_modules():
    edits = [path for folder in ("vae", "export", "workflow", "benchmarks") for path in (ROOT / folder).rglob("*.*")]
    for path in [path for path in edits if path.suffix in (".py", ".smk")]:
        assert "sys.path" not in path.read_text(), path


@patch.dict(families.FAMILIES)
@patch.dict(own.FILES)
def test_the_example_of_an_own_family_in_the_docs_works(tmp_path):
    import numpy as np
    import torch

    from export.graphs import export
    from vae.grid import Spec
    from vae.models import networks
    from vae.training import loop, objective, recipe

    (tmp_path / "my_families.py").write_text(own_family())
    own.load_families(tmp_path / "my_families.py")
    (name,) = own.FILES
    label = f"L3_{name}2_{name}1"
    how = recipe.Recipe(
        networks.Networks(8, 2),
        objective.Objective("bernoulli", 0.1, 1.0, "sum"),
        recipe.Training("adam", 0.001, 10, 1, None),
    )
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28), np.uint8)
    trained = loop.train(Spec.parse(label), 0, torch.from_numpy(images), how, torch.device("cpu"))
    assert trained.status == "ok"
    export(tmp_path, trained.model.eval(), images, {}, check=True)
    assert (tmp_path / "export.json").exists()
