"""Every number says how it came about, and its command makes it again."""

import json
import re
import shlex
import shutil

import pytest
import yaml
from conftest import ROOT

from vae import provenance
from vae.catalogue import STAGES
from vae.cli import main
from vae.errors import UserError
from vae.provenance import Origin


def printed(capsys, folder):
    """What `vae provenance` says of a model: facts, and commands by the files that they make."""
    assert main(["provenance", str(folder)]) == 0
    facts, commands = capsys.readouterr().out.split("\n\n# To reproduce them, run in the folder of the study:\n")
    lines = [line.split("  # ") for line in commands.splitlines()]
    return yaml.safe_load(facts), {file: command for command, files in lines for file in files.split(", ")}


def test_a_model_says_from_what_and_by_what_it_was_made(colour, capsys):
    folder = colour / "results/models/L3_CNN5_DNN1/seed0"
    facts, _ = printed(capsys, folder)
    dataset = json.loads((colour / "dataset.json").read_text())
    training = facts["training"]
    assert training["dataset"] == {"name": "own", "sha256": dataset["sha256"]}
    assert (training["label"], training["seed"]) == ("L3_CNN5_DNN1", 0)
    assert training["device"].startswith("CPU")
    assert training["config"]["training"]["learning_rate"] == 0.003
    assert set(facts["files"]) == {
        "weights.safetensors", "encoder.onnx", "decoder.onnx", "encoder.ts", "decoder.ts", "encoder.int8.onnx",
    }  # fmt: skip
    assert all(re.fullmatch("[0-9a-f]{64}, as written", state) for state in facts["files"].values())
    stages = {name for name, stage in STAGES.items() if stage.of == "model" and not stage.key}
    assert {made["stage"] for made in facts["made_by"]} == stages
    assert sorted(file for made in facts["made_by"] for file in made["files"]) == sorted(
        path.name for path in folder.glob("*.json")
    )
    for made in facts["made_by"]:
        assert made["source_sha256"] == f"{provenance.source(made['stage'])}, this installation's"
        assert set(made["versions"]) == {"python", *provenance.PACKAGES}


def test_its_commands_make_the_same_numbers_again(colour, tmp_path, capsys):
    shutil.copytree(colour, tmp_path / "again")
    folder = tmp_path / "again/results/models/L3_CNN5_DNN1/seed0"
    _, commands = printed(capsys, folder)
    before = {name: (folder / name).read_bytes() for name in commands}
    shutil.rmtree(folder)
    for name in ("provenance.json", "export.json", "codes.json", "encoder.int8.json"):
        assert main(shlex.split(commands[name].replace(str(colour), str(tmp_path / "again")))[3:]) == 0
    for name in set(commands) - {"provenance.json"}:
        reproduced, wanted = json.loads((folder / name).read_text()), json.loads(before[name])
        assert reproduced.pop("provenance")["source_sha256"] == wanted.pop("provenance")["source_sha256"]
        # Names of TorchScript's classes count the exports of a process.
        for numbers in (reproduced, wanted):
            numbers.pop("times_as_fast", None)  # by the clock
            numbers["sha256"] = {key: value for key, value in numbers.get("sha256", {}).items() if key[-3:] != ".ts"}
        assert reproduced == wanted, name


def test_a_file_that_is_not_what_was_written_is_named(colour, tmp_path, capsys):
    folder = tmp_path / "L3_CNN5_DNN1/seed0"
    shutil.copytree(colour / "results/models/L3_CNN5_DNN1/seed0", folder)
    raw = bytearray((folder / "encoder.onnx").read_bytes())
    raw[len(raw) // 2] ^= 1
    (folder / "encoder.onnx").write_bytes(raw)
    (folder / "decoder.ts").unlink()
    files = printed(capsys, folder)[0]["files"]
    assert files["encoder.onnx"].endswith(", DAMAGED OR REPLACED")
    assert files["decoder.ts"].endswith(", missing")
    assert files["decoder.onnx"].endswith(", as written")


def test_files_of_another_format_are_refused(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps({"kld": 1.0}))
    with pytest.raises(UserError, match=r"metrics.json: written by another version of this package.*run again"):
        provenance.read(path)
    provenance.write(path, {"kld": 1.0}, Origin("train"))
    path.write_text(path.read_text().replace('"format": 3', '"format": 0'))
    with pytest.raises(UserError, match=r"metrics.json: written by \d+\.\d+\.\d+ of this package"):
        provenance.read(path)


def installed(folder, **versions):
    """A folder of distributions, by name and version, each with the module that it brings."""
    for name, version in versions.items():
        facts = folder / f"{name}-{version}.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n")
        (facts / "top_level.txt").write_text(name.removesuffix("_gpu"))
    return str(folder)


def test_a_module_that_another_distribution_brings_has_its_version(tmp_path, monkeypatch):
    """As where onnxruntime-gpu is installed in place of onnxruntime."""
    monkeypatch.setattr("sys.path", [installed(tmp_path, torch="2.11", numpy="2.0", onnxruntime_gpu="1.20")])
    provenance.versions.cache_clear()
    found = provenance.versions()
    provenance.versions.cache_clear()
    assert (found["torch"], found["numpy"], found["onnxruntime"]) == ("2.11", "2.0", "1.20")
    assert found["scikit-learn"] == "not installed"


@pytest.fixture
def source(tmp_path, monkeypatch):
    """The source of stages of a copy of both packages, with nothing remembered, and the folder of the copy."""
    for package in ("vae", "export"):
        shutil.copytree(ROOT / package, tmp_path / package)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)

    def fresh(stage):
        for cached in (provenance.source, provenance.closure, provenance._imported):
            cached.cache_clear()
        return provenance.source(stage)

    yield fresh, tmp_path
    for cached in (provenance.source, provenance.closure, provenance._imported):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("file", "changed", "unchanged"),
    [
        ("vae/stages/train.py", {"train"}, set(STAGES) - {"train"}),
        ("vae/training/loop.py", {"train", "measure", "export"}, {"tables", "figures"}),
        ("vae/seeds.py", {"train", "measure", "baselines", "tables", "claims"}, {"check"}),
        ("vae/measures/codes/pca.py", {"measure"}, set(STAGES) - {"measure"}),
        ("vae/report/figures/losses.py", {"figures"}, set(STAGES) - {"figures"}),
        ("vae/report/templates/claims.html", {"page", "explore"}, set(STAGES) - {"page", "explore"}),
        ("export/quantise.py", {"quantise"}, set(STAGES) - {"quantise"}),
        ("vae/data/fetch.py", set(), set(STAGES)),
        ("vae/files.py", set(), set(STAGES)),
        ("vae/cli.py", set(), set(STAGES)),
    ],
)
def test_the_source_of_a_stage_is_what_it_imports(source, file, changed, unchanged):
    """Its own file, what that imports directly or not, whole packages, and templates; not how a file is written."""
    fresh, root = source
    before = {stage: fresh(stage) for stage in STAGES}
    (root / file).write_text((root / file).read_text() + "\n# edited\n")
    differ = {stage for stage in STAGES if fresh(stage) != before[stage]}
    assert changed <= differ <= set(STAGES) - unchanged
