"""Families of architectures that come in a file of the user's own, which is run."""

import sys
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

from vae.errors import UserError
from vae.files import read_source, sha256
from vae.grid import Spec
from vae.models.families import FAMILIES


@dataclass(frozen=True)
class File:
    """A file of families: its path, as it was given, and the SHA-256 of what was run."""

    path: str
    sha256: str


# Which file a family came in, by the family's name.
FILES: dict[str, File] = {}


def load_families(path: str | Path) -> None:
    """Run a Python file that registers families of architectures.

    Families of an earlier state of the file are forgotten.

    Parameters
    ----------
    path : str or Path
        The file; docs/how-to/own-family.md has an example. It is executed.

    Raises
    ------
    UserError
        If the file is missing or raises, or if it registers no family, an incomplete one, or one whose name is taken.

    Examples
    --------
    >>> vae.load_families("families.py")
    >>> vae.train("L2_SKIP2_DNN1", images, {"training": {"epochs": 1}}).status
    'ok'
    """
    content = read_source(path, "families")
    file = File(str(path), sha256(content))
    if file.sha256 in {other.sha256 for other in FILES.values()}:
        return
    before, earlier = dict(FAMILIES), [name for name, other in FILES.items() if other.path == file.path]
    for name in earlier:
        del FAMILIES[name]
    others = set(FAMILIES)
    try:
        _run(file, content)
        own = [name for name in FAMILIES if name not in others]
        if not own:
            raise UserError(f'families: {path}: registers no family; write @family("NAME") above a class')
    except BaseException:
        FAMILIES.clear()
        FAMILIES.update(before)
        raise
    for name in earlier:
        del FILES[name]
    FILES.update(dict.fromkeys(own, file))


def _run(file: File, content: bytes) -> None:
    # Not by an import, which may take old bytecode for the file. Classes look for their module among Python's.
    module = ModuleType(f"families_{file.sha256[:16]}")
    module.__file__ = file.path
    sys.modules[module.__name__] = module
    try:
        exec(compile(content, file.path, "exec", dont_inherit=True), vars(module))
    except (Exception, SystemExit) as error:
        raise UserError(f"families: {_place(error, file.path)}: {described(error)}") from None


def _place(error: BaseException, path: str) -> str:
    """The path, with the last line of this file that was at work."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    if isinstance(error, SyntaxError):
        lines = [error.lineno]
    return f"{path}, line {lines[-1]}" if lines else path


def described(error: BaseException) -> str:
    """A description of an error that the user's code raised."""
    if isinstance(error, UserError):
        return str(error)
    return f"{type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error}"


def files_of(spec: Spec) -> dict[str, dict[str, str]]:
    """The files that families of a model came in, by the family's name, as its provenance has them."""
    own = {network.family for network in (spec.encoder, spec.decoder)} & FILES.keys()
    return {name: asdict(FILES[name]) for name in sorted(own)}


def check_files(model: Path, noted: dict[str, dict[str, str]]) -> None:
    """Raise UserError unless the families that a model was trained with, as `files_of` noted them, are loaded."""
    for name, file in noted.items():
        if name not in FILES:
            raise UserError(
                f"{model}: {name} is a family of {file['path']}; load that file (--families, or vae.load_families)"
            )
        if FILES[name].sha256 != file["sha256"]:
            raise UserError(
                f"{model}: trained with another {FILES[name].path} (SHA-256 {file['sha256'][:12]}…, not"
                f" {FILES[name].sha256[:12]}…); take the file of then, or train again"
            )
