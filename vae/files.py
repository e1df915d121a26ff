"""Files that appear whole or not at all."""

import hashlib
import json
import logging
import math
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from vae.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

log = logging.getLogger(__name__)

# Characters of a config: as many as a command's argument may have, which is how the workflow hands it on.
LONGEST_CONFIG = 2**17


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on success it takes the place of `path`, on failure it is removed.

    The temporary name keeps the suffix, which some writers use to choose a format. What is written is on the disk
    before it gets its name: a machine that loses its power leaves the old file or the new one, and none that is empty.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    for left in path.parent.glob(f".{escape(path.stem)}.*{escape(path.suffix)}"):
        with suppress(FileNotFoundError):
            # Of a process that was killed: one that still writes does so more often.
            if time() - left.stat().st_mtime > 3600:
                left.unlink()
    try:
        yield partial
        with open(partial, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(partial, path)
    except OSError as error:
        # A write that the system refuses (a full disk, a quota) does not say which file it was for.
        if error.filename not in (None, str(partial), partial):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        partial.unlink(missing_ok=True)


def cache() -> Path:
    """The folder in the user's cache for what is fetched, or compiled for this machine; it may not exist.

    Raises UserError for a user without a home, as in a container.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vae-encoders"
    except RuntimeError:
        raise UserError("this user has no home to keep a cache in; set XDG_CACHE_HOME to a folder") from None


def kept(name: str) -> Path | None:
    """The folder of that name in the user's cache, where it is there; what it holds is to be verified."""
    with suppress(UserError, OSError):
        folder = cache() / name
        return folder if folder.is_dir() else None
    return None


def keep(name: str, files: Iterable[Path]) -> None:
    """Copy files to the folder of that name in the user's cache, each whole or not at all, whoever else does so.

    Where that is not possible, a line in the log says so, and nothing else happens.
    """
    try:
        for file in files:
            with replacing(cache() / name / file.name) as partial:
                shutil.copyfile(file, partial)
    except (UserError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        log.warning("%s is not kept in the user's cache (%s); the next study fetches it again", name, reason)


def check_writable(folder: str | Path) -> None:
    """Raise UserError unless files can be written to `folder`, or it can be made."""
    folder = Path(folder)
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        raise UserError(f"{folder}: is not writable; check who owns it, and the disk")


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
        content = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); delete it and run again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a JSON object; delete it and run again")
    return content


def _refuse(constant: str) -> None:
    raise ValueError(f"holds {constant}")


def read_config(text: str) -> dict:
    """A configuration from the path of a YAML file, or from its content as inline JSON (text that starts with `{`).

    Raises UserError where it cannot be read, is no mapping, or has more than `LONGEST_CONFIG` characters.
    """
    try:
        config = json.loads(text) if text.startswith("{") else _read_yaml(text)
    except Exception as error:  # beside YAMLError, yaml raises whatever its constructors stumble over
        raise UserError(f"config {text}: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise UserError(f"config {text}: a mapping of keys is expected")
    return config


def _read_yaml(path: str) -> object:
    import yaml  # who only encodes images does without

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            # With aliases of aliases, a few lines stand for more values than fit into any memory.
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("aliases (*name) are not read; write out what they stand for")
            return super().compose_node(parent, index)

    with open(path, encoding="utf-8") as stream:
        text = stream.read(LONGEST_CONFIG + 1)
    if len(text) > LONGEST_CONFIG:
        raise ValueError(f"longer than {LONGEST_CONFIG} characters, which no config is")
    return yaml.load(text, Loader)


def check_memory(size: int, what: str | Path) -> None:
    """Raise UserError, which begins with `what`, where `size` bytes are more than the memory that is free."""
    import psutil  # who only encodes images does without

    if size > (free := psutil.virtual_memory().available):
        raise UserError(f"{what}: takes {size >> 20} MiB, {free >> 20} MiB of memory are free; use a larger machine")


def write_npz(path: str | Path, **arrays: "ArrayLike") -> None:
    """Write plain NumPy arrays, of numbers or text, as an uncompressed .npz."""
    import numpy as np  # Snakemake, which reads this module too, may run without it

    with replacing(path) as partial:
        np.savez(partial, **arrays)  # type: ignore[arg-type]  # the stub takes any of them for `allow_pickle`


def read_npz(path: str | Path, *needed: str, optional: Iterable[str] = ()) -> "dict[str, np.ndarray]":
    """The arrays of an .npz that bear these names, by name; what is there of `optional`, and all of `needed`.

    Raises UserError where the file is missing or damaged, lacks an array, or has one that holds pickled objects, is not
    of the size that its header says, or is larger than the memory that is free; no memory is taken before.
    """
    try:
        with open(path, "rb") as stream:
            if stream.read(6) == b"\x93NUMPY":
                raise ValueError("it is one array, as np.save writes it; np.savez writes several, by name")
        with zipfile.ZipFile(path) as archive:
            there = set(archive.namelist())
            if missing := [name for name in needed if f"{name}.npy" not in there]:
                found = ", ".join(sorted(name.removesuffix(".npy") for name in there)[:8]) or "none"
                raise UserError(
                    f"{path}: has no array {missing[0]!r}; it has to have {', '.join(needed)}, and has {found}"
                )
            names = [name for name in (*needed, *optional) if f"{name}.npy" in there]
            return {name: _read_member(archive, f"{name}.npy", path) for name in names}
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # damaged bytes make readers of zip files, of deflate and of headers raise anything
        raise UserError(f"{path}: not a sound .npz of plain arrays ({error})") from None


def _read_member(archive: zipfile.ZipFile, name: str, path: str | Path) -> "np.ndarray":
    from numpy.lib import format

    # What zipfile unpacks is at most this, whatever is packed.
    size = archive.getinfo(name).file_size
    check_memory(size, f"{path}[{name}]")
    with archive.open(name) as stream:
        headers = {(1, 0): format.read_array_header_1_0, (2, 0): format.read_array_header_2_0}
        shape, _, dtype = headers[format.read_magic(stream)](stream)
        if stream.tell() + math.prod(shape) * dtype.itemsize != size:
            raise ValueError(f"{name} is not of the size that its header says")
    with archive.open(name) as stream:
        return format.read_array(stream, allow_pickle=False)


def read_source(path: str | Path, key: str) -> bytes:
    """The bytes of a file of code that this key of the config names; UserError where they cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{key}: {path}: {error.strerror}; paths begin at {Path.cwd()}") from None


def sha256(content: bytes) -> str:
    """SHA-256 of bytes, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def verify(path: str | Path, wanted: str, content: bytes) -> None:
    """Raise UserError unless the `content` of `path` has the SHA-256 that was noted when it was written."""
    if (digest := sha256(content)) != wanted:
        raise UserError(
            f"{path}: damaged or replaced since it was written (SHA-256 {digest[:12]}…, not {wanted[:12]}…);"
            " delete it and run again"
        )
