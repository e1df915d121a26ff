"""Files that appear whole or not at all."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vae.errors import UserError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on success it takes the place of `path`, on failure it is removed.

    The temporary name keeps the suffix, which some writers use to choose a format.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        # A write that the system refuses (a full disk, a quota) does not say which file it was for.
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        partial.unlink(missing_ok=True)


def cache() -> Path:
    """The folder in the user's cache for what is compiled for this machine; it may not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vae-encoders"


def check_writable(folder: str | Path) -> None:
    """Raise UserError unless files can be written to `folder`, or it can be made."""
    folder = Path(folder)
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        raise UserError(f"{folder}: cannot be written to; check who owns it, and the disk")


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, content: dict) -> None:
    """Write `content` as indented JSON; NaN and infinities are refused with ValueError."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: str | Path) -> dict:
    """Read a JSON object; UserError names a file that is missing, or not JSON, which has no NaN and no infinities."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); delete it and run again") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"holds {constant}")


def read_config(text: str) -> dict:
    """A configuration from the path of a YAML file, or from its content as inline JSON (text that starts with `{`)."""
    import yaml  # who only encodes images does without

    try:
        inline = text.startswith("{")
        config = json.loads(text) if inline else yaml.safe_load(Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"config {text}: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise UserError(f"config {text}: a mapping of keys is expected")
    return config


def write_npz(path: str | Path, **arrays) -> None:
    """Write plain NumPy arrays, of numbers or text, as an uncompressed .npz."""
    import numpy as np  # Snakemake, which reads this module too, may run without it

    with replacing(path) as partial:
        np.savez(partial, **arrays)


def sha256(content: bytes) -> str:
    """SHA-256 of bytes, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def verify(path: str | Path, wanted: str, content: bytes) -> None:
    """Raise UserError unless the `content` of `path` has the SHA-256 that was noted when it was written."""
    if (found := sha256(content)) != wanted:
        raise UserError(
            f"{path}: damaged or replaced since it was written (SHA-256 {found[:12]}…, not {wanted[:12]}…);"
            " delete it and run again"
        )
