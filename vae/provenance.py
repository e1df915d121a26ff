"""Where numbers come from: every file of numbers says which command, source and versions made it."""

import hashlib
import importlib.metadata
import json
import platform
from functools import cache
from pathlib import Path

from vae import __version__
from vae.errors import UserError
from vae.files import read_json, read_npz, sha256, write_json

# Of the files of a results folder; it grows when files of before can no longer be read.
FORMAT = 1
PACKAGES = ("torch", "numpy", "scikit-learn", "onnxruntime")
ROOT = Path(__file__).parent.parent


@cache
def source() -> str:
    """SHA-256 over names and bytes of all Python files of the packages `vae` and `export`."""
    digest = hashlib.sha256()
    for path in sorted(path for package in ("vae", "export") for path in (ROOT / package).rglob("*.py")):
        digest.update(f"{path.relative_to(ROOT).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that compute numbers."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}


def stamp() -> dict:
    """What this program is: the format of its files, the package's version and source, and the versions it runs on."""
    return {"format": FORMAT, "package": __version__, "source_sha256": source(), "versions": versions()}


def write(path: str | Path, numbers: dict, command: str | None = None) -> None:
    """Write `numbers` as JSON, with what made them under `provenance`; `command` makes them again."""
    write_json(path, numbers | {"provenance": {"command": command} | stamp()})


def read(path: str | Path) -> dict:
    """What `write` wrote; UserError where the file is missing, unsound, or of another version of the package."""
    found = read_json(path)
    made = found.get("provenance")
    if not isinstance(made, dict) or made.get("format") != FORMAT:
        version = made.get("package") if isinstance(made, dict) else "another version"
        raise UserError(
            f"{path}: written by {version} of this package, in a format that version {__version__} does not read;"
            " move the results folder away, or delete it, and run again"
        )
    return found


def of_model(folder: Path) -> dict:
    """Where the numbers of a model's folder come from.

    `training` says how the model was trained, and on what; `files` whether every file whose SHA-256 was noted is still
    the one that was written; `made_by` which numbers were made by which source and versions; `commands` which command
    makes which files again. Raises UserError where a file of numbers is missing or unsound.
    """
    facts = {path.name: read(path) for path in sorted(folder.glob("*.json"))}
    training = read(folder / "provenance.json")
    stamps, commands, files = {}, {}, {}
    for name, found in facts.items():
        made = found["provenance"]
        commands.setdefault(made.pop("command"), []).append(name)
        stamps.setdefault(json.dumps(made), []).append(name)
        files |= {file: _state(folder / file, noted) for file, noted in found.get("sha256", {}).items()}
    commands[str(read_npz(folder / "latents.npz", "command")["command"])] = ["latents.npz"]
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
    here = "this" if made["source_sha256"] == source() else "not this"
    return made | {"source_sha256": f"{made['source_sha256']}, {here} installation's"}
