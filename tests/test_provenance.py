"""Every number says how it came about, and its command makes it again."""

import json
import re
import shlex
import shutil

import pytest
import yaml
from conftest import ROOT

from vae import provenance
from vae.cli import main
from vae.errors import UserError


def printed(capsys, folder):
    """What `vae provenance` says of a model: facts, and commands by the files that they make."""
    assert main(["provenance", str(folder)]) == 0
    facts, commands = capsys.readouterr().out.split("\n\n# Each again, from the folder that the study ran in:\n")
    lines = [line.split("  # ") for line in commands.splitlines()]
    return yaml.safe_load(facts), {file: command for command, files in lines for file in files.split(", ")}


def test_a_model_says_from_what_and_by_what_it_was_made(colour, capsys):
    folder = colour / "models/L3_CNN5_DNN1/seed0"
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
    (made,) = facts["made_by"]
    assert sorted(made["files"]) == sorted(path.name for path in folder.glob("*.json"))
    assert made["source_sha256"] == f"{provenance.source()}, this installation's"
    assert set(made["versions"]) == {"python", *provenance.PACKAGES}


def test_its_commands_make_the_same_numbers_again(colour, tmp_path, capsys):
    shutil.copytree(colour, tmp_path / "again")
    folder = tmp_path / "again/models/L3_CNN5_DNN1/seed0"
    _, commands = printed(capsys, folder)
    before = {name: (folder / name).read_bytes() for name in commands}
    shutil.rmtree(folder)
    stages = ("provenance", "likelihood", "export", "latents", "projection", "samples", "encoder.int8")
    names = [next(name for name in commands if name.rsplit(".", 1)[0] == stage) for stage in stages]
    for name in names:
        assert main(shlex.split(commands[name].replace(str(colour), str(tmp_path / "again")))[3:]) == 0
    for name in set(commands) - {"provenance.json", "latents.npz"}:
        found, wanted = json.loads((folder / name).read_text()), json.loads(before[name])
        assert found.pop("provenance")["source_sha256"] == wanted.pop("provenance")["source_sha256"]
        # Names of TorchScript's classes count the exports of a process.
        for numbers in (found, wanted):
            numbers["sha256"] = {key: value for key, value in numbers.get("sha256", {}).items() if key[-3:] != ".ts"}
        assert found == wanted, name


def test_a_file_that_is_not_what_was_written_is_named(colour, tmp_path, capsys):
    folder = tmp_path / "L3_CNN5_DNN1/seed0"
    shutil.copytree(colour / "models/L3_CNN5_DNN1/seed0", folder)
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
    provenance.write(path, {"kld": 1.0})
    path.write_text(path.read_text().replace('"format": 1', '"format": 0'))
    with pytest.raises(UserError, match=r"metrics.json: written by \d+\.\d+\.\d+ of this package"):
        provenance.read(path)


def test_the_source_is_all_files_of_both_packages(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "vae", tmp_path / "vae")
    shutil.copytree(ROOT / "export", tmp_path / "export")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    source = provenance.source.__wrapped__
    assert source() == provenance.source()
    for name in ("vae/figures.py", "export/native/__init__.py"):
        before = source()
        (tmp_path / name).write_text((tmp_path / name).read_text() + "\n")
        assert source() != before
