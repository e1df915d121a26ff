"""The package as people install it: the light part alone encodes, and what else they ask for names what it lacks."""

import importlib.metadata
import json
import shutil
import subprocess
import sys
import venv

import numpy as np
import pytest
from conftest import ROOT
from packaging.requirements import Requirement

from export import Encoder

MEGABYTES = 150
# Packages of extras alone, and what each command may do without: `vae view` without those that train.
TRAINING = ["torch", "torchvision", "sklearn", "snakemake", "safetensors", "filelock", "jsonschema", "yaml", "tqdm"]
VIEWING = ["jinja2", "matplotlib", "onnx", "pandas", "PIL", "psutil", "scipy", "statsmodels"]


def needed(names, extra=""):
    """These distributions, and those that they need."""
    found, waiting = {}, list(names)
    while waiting:
        requirement = Requirement(waiting.pop())
        if requirement.name not in found and (not requirement.marker or requirement.marker.evaluate({"extra": extra})):
            found[requirement.name] = distribution = importlib.metadata.distribution(requirement.name)
            waiting += distribution.requires or []
    return found.values()


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    """An environment with the wheel of this checkout and the packages that it declares, and no other."""
    folder = tmp_path_factory.mktemp("light")
    for name in ("vae", "export"):
        shutil.copytree(ROOT / name, folder / f"source/{name}", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    build = "from setuptools import build_meta; import sys; print(build_meta.build_wheel(sys.argv[1]))"
    command = [sys.executable, "-c", build, str(folder)]
    subprocess.run(command, cwd=folder / "source", check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(folder / "env"),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    (packages,) = (folder / "env").glob("lib/python*/site-packages")
    (installed,) = importlib.metadata.distributions(name="vae-architectures", path=[str(packages)])
    for distribution in needed(installed.requires):
        for file in distribution.files:
            if not file.as_posix().startswith("..") and "__pycache__" not in file.parts:
                target = packages / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), target)
    return folder / "env", packages


def in_light(light, folder, *words):
    """The command of this environment, in a folder that is no checkout."""
    environment = {"PATH": f"{light[0] / 'bin'}:/usr/bin:/bin", "HOME": str(folder)}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def images(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    return pixels


def test_it_is_small(light):
    size = sum(file.stat().st_size for file in light[1].rglob("*") if "__pycache__" not in file.parts)
    assert size < MEGABYTES * 1e6


def test_the_light_part_encodes_by_its_command_and_in_python(light, colour, images, tmp_path):
    model = colour / "results/models/L3_CNN5_DNN1/seed0"
    wanted = Encoder.load(model, "onnx").encode(images)[0]
    done = in_light(light, tmp_path, "vae", "encode", str(model), "images.npy", "codes.npy")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "codes.npy"), wanted)
    program = (
        "import sys; import numpy; from export import Encoder\n"
        "mean, _ = Encoder.load(sys.argv[1]).encode(numpy.load('images.npy')); numpy.save('python.npy', mean)"
    )
    done = in_light(light, tmp_path, "python", "-c", program, str(model))
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "python.npy"), wanted)


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["models"], "view"),
        (["view"], "view"),
        (["train"], "study"),
        (["compare"], "view"),
        (["check"], "study"),
        (["status"], "study"),
        (["track"], "track"),
    ],
)
def test_a_command_says_in_one_line_which_extra_it_lacks(light, tmp_path, words, extra):
    done = in_light(light, tmp_path, "vae", *words)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"vae {words[0]} needs " in line
    assert f"pip install '.[{extra}]'" in line


def test_a_name_of_the_package_says_which_extra_it_lacks(light, tmp_path):
    done = in_light(light, tmp_path, "python", "-c", "import vae; vae.Spec; vae.train")
    assert done.stderr.splitlines()[-1].startswith("ModuleNotFoundError: vae.train needs ")
    assert "'.[study]'" in done.stderr


def test_all_modules_are_in_the_wheel(light):
    def files(folder):
        return {path.relative_to(folder) for name in ("vae", "export") for path in (folder / name).rglob("*.*")}

    missing = files(ROOT) - files(light[1])
    assert not {path for path in missing if "__pycache__" not in path.parts}


@pytest.mark.parametrize(
    ("command", "without"),
    [
        *(((name, TRAINING)) for name in ("view", "models", "compare")),
        *(((name, TRAINING + VIEWING)) for name in ("encode", "decode", "native")),
    ],
)
def test_an_extra_is_enough_for_its_commands(command, without):
    program = (
        "import importlib, json, sys\n"
        "class Without:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name in json.loads(sys.argv[1]): raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Without())\n"
        "importlib.import_module(f'vae.tools.{sys.argv[2]}')"
    )
    subprocess.run([sys.executable, "-c", program, json.dumps(without), command], cwd=ROOT, check=True)


def test_the_extras_name_all_that_is_imported():
    """What this package imports anywhere is declared, for the light part or in an extra."""
    distributions = importlib.metadata.packages_distributions()
    declared = {Requirement(line).name for line in importlib.metadata.requires("vae-architectures")}
    names = {distributions[module][0].lower() for module in TRAINING + VIEWING + ["numpy", "onnxruntime"]}
    assert names <= {name.lower() for name in declared}
