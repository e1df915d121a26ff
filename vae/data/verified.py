"""Datasets in files that are known by name and verified: the user's own copy, that of the cache, or fetched ones."""

import contextlib
import hashlib
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from vae.data import readers
from vae.data.dataset import LABELS, PARTS, Dataset
from vae.data.fetch import SOURCES
from vae.data.idx import open_idx, read_idx
from vae.data.known import KNOWN
from vae.data.published import PUBLISHED, class_names
from vae.errors import UserError
from vae.files import keep, kept, sha256

log = logging.getLogger(__name__)

CACHE = "the user's cache"


def given(name: str, path: str) -> Dataset:
    """A dataset that is known by name from the files that the user has of it; UserError where they are others."""
    with _given(name, path), tempfile.TemporaryDirectory() as scratch:
        return Dataset.of(name, f"folder {path}", _read(name, Path(path), Path(scratch)), class_names(name))


def check_given(name: str, path: str) -> None:
    """Raise UserError where that would do so, as far as is known without torchvision."""
    with _given(name, path):
        if name in PUBLISHED:
            PUBLISHED[name].check_there(Path(path))
        else:
            _read(name, Path(path), Path(path))


@contextlib.contextmanager
def _given(name: str, path: str) -> Iterator[None]:
    if name not in SOURCES or readers.is_npz(path):
        raise UserError(f"dataset.path: {path} is data of your own; set dataset.name to a name other than {name}")
    try:
        yield
    except Exception as error:  # whatever readers of files that are not what they seem to be stumble over
        raise UserError(
            f"dataset.path: {path} is not {name}: {_reason(error)}; for data of your own, set dataset.name to another"
            f" name, and without dataset.path {name} is fetched"
        ) from None


def fetched(name: str) -> Dataset:
    """A dataset from the user's cache, or from the first source that has it, of which the cache then has a copy."""
    key, tried = _key(name), []
    there = kept(key)
    sources: dict[str, Callable[[Path], Path]] = ({CACHE: lambda _: there} if there else {}) | SOURCES[name]
    for source, fetch in sources.items():
        with tempfile.TemporaryDirectory() as scratch:
            empty, unpacked = (Path(scratch, purpose) for purpose in ("fetched", "unpacked"))
            empty.mkdir()
            try:
                folder = fetch(empty)
                arrays = _read(name, folder, unpacked)
            except Exception as error:  # whatever stops one source is no reason not to try the next
                tried.append(f"{source}: {_reason(error)}")
                log.warning("%s refused: %s", source, _reason(error))
                if there and source == CACHE:
                    shutil.rmtree(there, ignore_errors=True)
                continue
            if folder.is_relative_to(empty):
                keep(key, _files(name, folder))
        return Dataset.of(name, source, arrays, class_names(name))
    raise UserError(f"dataset {name} is not available; tried {'; '.join(tried)}. {_advice(name)}")


def _key(name: str) -> str:
    """The folder of the user's cache that has the files of a dataset, by their hashes."""
    if name in PUBLISHED:
        kind, digests = PUBLISHED[name].kind.lower(), [file.md5 for file in PUBLISHED[name].files]
    else:
        kind, digests = name, list(KNOWN[name].sha256)
    return f"datasets/{kind}-{sha256(' '.join(digests).encode())[:16]}"


def _advice(name: str) -> str:
    if name not in PUBLISHED:
        return "Put its four IDX files in a folder and set dataset.path to that folder"
    first, *others = PUBLISHED[name].files
    names = ", ".join(file.name for file in (first, *others))
    return f"Put {names} of {first.url.rpartition('/')[0]} in a folder and set dataset.path to that folder"


def _files(name: str, folder: Path) -> list[Path]:
    """The files of a dataset in a folder; UserError where one is missing."""
    if name in PUBLISHED:
        return [folder / file for file in PUBLISHED[name].names]
    files = {part: readers.idx_files(folder, part) for part in PARTS}
    if missing := [part.replace("_", " ") for part, there in files.items() if not there]:
        raise UserError(f"{folder}: has no file of {missing[0]}")
    return [there[0] for there in files.values()]


def _read(name: str, folder: Path, scratch: Path) -> dict[str, np.ndarray]:
    """The arrays of a dataset in a folder of its files, which are verified; UserError where they are others."""
    if name in PUBLISHED:
        return PUBLISHED[name].read(folder, scratch)
    arrays = {}
    for part, file, wanted in zip(PARTS, _files(name, folder), KNOWN[name].sha256, strict=True):
        arrays[part] = read_idx(file)
        with open_idx(file) as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != wanted:
            raise UserError(f"{file.name} has SHA-256 {digest}, not {wanted}")
    return {part: array.astype(np.int64) if part in LABELS else array for part, array in arrays.items()}


def _reason(error: Exception) -> str:
    stderr = getattr(error, "stderr", None)
    text = stderr.strip().splitlines()[-1] if stderr and stderr.strip() else str(error)
    return " ".join(text.split()) or type(error).__name__
