"""Where numbers come from: every file of numbers says which stage, command, source and versions made it."""

import ast
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vae import __version__
from vae.errors import UserError
from vae.files import read_json, sha256, write_json

# Of the files of a results folder; it grows when files of before can no longer be read.
FORMAT = 3
# By distribution, the module that each brings.
PACKAGES = {"torch": "torch", "numpy": "numpy", "scikit-learn": "sklearn", "onnxruntime": "onnxruntime"}
ROOT = Path(__file__).parent.parent
# How a command is read and a file is written, and where a dataset is fetched from before its hash is verified, decides
# no number: these modules are in no closure.
PLUMBING = {"vae", "vae.arguments", "vae.data.fetch", "vae.errors", "vae.files", "vae.provenance"}


@dataclass(frozen=True)
class Origin:
    """The stage that makes numbers, and the command that reproduces them, if there is one."""

    stage: str
    command: str | None = None


@cache
def closure(stage: str) -> tuple[str, ...]:
    """The files that decide the numbers of a stage, relative to the checkout: its module's and all that it imports.

    A module that imports a package, and not a module of it, depends on all modules of the package; one that imports a
    module depends on the templates beside it. `PLUMBING` is left out.
    """
    modules, waiting = set(), {f"vae.stages.{stage}"}
    while waiting:
        module = waiting.pop()
        modules.add(module)
        waiting |= _imported(module) - modules
    files = {_file(module) for module in modules}
    files |= {template for file in files for template in (file.parent / "templates").glob("*")}
    return tuple(sorted(file.relative_to(ROOT).as_posix() for file in files))


@cache
def _imported(module: str) -> set[str]:
    """Modules of this checkout that a module imports anywhere in its code."""
    names = set()
    for node in ast.walk(ast.parse(_file(module).read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {_target(node.module, alias.name) for alias in node.names}
    ours = {name for name in names if name.split(".")[0] in ("vae", "export") and name not in PLUMBING}
    return {part for name in ours for part in _parts(name)} - PLUMBING


def _target(module: str, name: str) -> str:
    """The module that `from module import name` imports."""
    path = ROOT / module.replace(".", "/") / name
    return f"{module}.{name}" if path.is_dir() or path.with_suffix(".py").exists() else module


def _parts(name: str) -> Iterator[str]:
    """A module; of a package, all of its modules."""
    folder = ROOT / name.replace(".", "/")
    if not folder.is_dir():
        yield name
        return
    for path in folder.rglob("*.py"):
        yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _file(module: str) -> Path:
    path = ROOT / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def source(stage: str) -> str:
    """SHA-256 over names and bytes of the files that decide the numbers of a stage."""
    digest = hashlib.sha256()
    for name in closure(stage):
        digest.update(f"{name}\0".encode())
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that compute numbers."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def _version(distribution: str) -> str:
    """The version of a distribution, or of another that brings the same module, as onnxruntime-gpu does."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        others = importlib.metadata.packages_distributions().get(PACKAGES[distribution])
        return importlib.metadata.version(others[0]) if others else "not installed"


def stamp(stage: str) -> dict:
    """The identity of a stage: format of its files, version of the package, source, and versions it runs on."""
    return {
        "format": FORMAT,
        "package": __version__,
        "stage": stage,
        "source_sha256": source(stage),
        "versions": versions(),
    }


def write(path: str | Path, numbers: dict, origin: Origin) -> None:
    """Write `numbers` as JSON, with what made them under `provenance`."""
    write_json(path, numbers | {"provenance": {"command": origin.command} | stamp(origin.stage)})


def read(path: str | Path) -> dict:
    """Read what `write` wrote; UserError if the file is missing, damaged, or of another version of the package."""
    numbers = read_json(path)
    made = numbers.get("provenance")
    if not isinstance(made, dict) or made.get("format") != FORMAT:
        version = made.get("package") if isinstance(made, dict) else "another version"
        raise UserError(
            f"{path}: written by {version} of this package, in a format that version {__version__} does not read;"
            " move the results folder away, or delete it, and run again"
        )
    return numbers


def of_model(folder: Path) -> dict:
    """Where the numbers of a model's folder come from.

    `training` says how the model was trained, and on what; `files` whether every file whose SHA-256 was noted is still
    the one that was written; `made_by` which numbers were made by which source and versions; `commands` which command
    reproduces which files. Raises UserError where a file of numbers is missing or unsound.
    """
    facts = {path.name: read(path) for path in sorted(folder.glob("*.json"))}
    training = read(folder / "provenance.json")
    stamps: dict[str, list[str]] = {}
    commands: dict[str, list[str]] = {}
    files: dict[str, str] = {}
    for name, numbers in facts.items():
        made = numbers["provenance"]
        commands.setdefault(made.pop("command"), []).append(name)
        stamps.setdefault(json.dumps(made), []).append(name)
        files |= {file: _state(folder / file, noted) for file, noted in numbers.get("sha256", {}).items()}
    return {
        "training": {key: value for key, value in training.items() if key not in ("provenance", "sha256")},
        "files": files,
        "made_by": [{"files": names} | _compared(json.loads(made)) for made, names in stamps.items()],
        "commands": commands,
    }


def _state(path: Path, noted: str) -> str:
    if not path.exists():
        return f"{noted}, missing"
    return f"{noted}, {'as written' if sha256(path.read_bytes()) == noted else 'DAMAGED OR REPLACED'}"


def _compared(made: dict) -> dict:
    here = "this" if made["source_sha256"] == source(made["stage"]) else "not this"
    return made | {"source_sha256": f"{made['source_sha256']}, {here} installation's"}
