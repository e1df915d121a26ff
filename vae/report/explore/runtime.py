"""The runtime of browsers, onnxruntime-web: fetched once by npm, held to its hashes, kept in the user's cache."""

import re
import shutil
import subprocess
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from vae.errors import UserError
from vae.files import keep, kept, read_json, sha256

FACTS = read_json(Path(__file__).parent / "runtime.json")
BUNDLE, WASM = FACTS["files"]
NAME = f"{FACTS['package']}@{FACTS['version']}"


class Runtime(NamedTuple):
    """A script that sets `ort`, and the WebAssembly that it takes."""

    script: str
    wasm: bytes


def runtime(folder: Path | None = None) -> Runtime:
    """The runtime in a folder, or else in the cache, where npm puts it at first.

    UserError where it is not to be had, or is of another version.
    """
    if folder:
        return _read(folder)
    name = f"{FACTS['package']}-{FACTS['version']}"
    if there := kept(name):
        with suppress(UserError):  # of a file that is missing or damaged, which is fetched again
            return _read(there)
    with tempfile.TemporaryDirectory() as scratch:
        _fetch(Path(scratch))
        keep(name, [Path(scratch) / file for file in FACTS["files"]])
        return _read(Path(scratch))


def _read(folder: Path) -> Runtime:
    contents = {}
    for name, wanted in FACTS["files"].items():
        try:
            contents[name] = (folder / name).read_bytes()
        except OSError:
            raise UserError(f"{folder / name}: no such file; give the folder `dist` of the package {NAME}") from None
        if sha256(contents[name]) != wanted:
            raise UserError(f"{folder / name}: not that of {NAME}; give the folder `dist` of that package")
    return Runtime(_as_script(contents[BUNDLE].decode()), contents[WASM])


def _as_script(module: str) -> str:
    """The module as a script of a page, which cannot import from a file: what it exports becomes the global `ort`."""
    module = re.sub(r"//# sourceMappingURL=.*\s*$", "", module)
    exports = re.search(r"export\{([^}]*)\};?\s*$", module)
    assert exports, "the bundle ends with what it exports"
    named = (part.split(" as ") for part in exports[1].split(","))
    return (
        module[: exports.start()] + "globalThis.ort={" + ",".join(f"{name}:{inside}" for inside, name in named) + "};"
    )


def _fetch(scratch: Path) -> None:
    """Have npm download the package from the registry that it is set up for, and unpack the two files of it."""
    npm = shutil.which("npm")
    advice = f"give --runtime FOLDER, the folder `dist` of the npm package {NAME}"
    if not npm:
        raise UserError(f"models cannot run in the browser: there is no npm to fetch {NAME}; install it, or {advice}")
    done = subprocess.run([npm, "pack", NAME, "--silent"], cwd=scratch, capture_output=True, text=True)
    archives = list(scratch.glob("*.tgz"))
    if done.returncode or not archives:
        reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise UserError(f"models cannot run in the browser: npm could not fetch {NAME} ({reason}); {advice}")
    with tarfile.open(archives[0]) as archive:
        for name, wanted in FACTS["files"].items():
            stream = archive.extractfile(f"package/dist/{name}")
            content = stream.read() if stream else b""
            if sha256(content) != wanted:
                raise UserError(f"{NAME}: {name} is not what was published; nothing of it is kept; {advice}")
            (scratch / name).write_bytes(content)
