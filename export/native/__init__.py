"""The encoder in C++: building it, and finding what was built.

Built is a library that Python loads too, the program `latent-encode`, and the header to call the library from C++.
"""

import os
import platform
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from vae.errors import UserError
from vae.files import cache, check_writable, sha256

SOURCES = sorted(path for path in Path(__file__).parent.iterdir() if path.suffix in (".h", ".cpp", ".txt"))


def folder() -> Path:
    """Where the build for these sources, this torch and this machine belongs: `bin`, `lib`, `include` are in it."""
    import torch

    # It is built for this machine's processor, and a home may be shared with others;
    # and finds the libraries of this torch where it is installed now.
    place = sha256(torch.__path__[0].encode())[:8]
    sources = sha256(b"".join(path.read_bytes() for path in SOURCES))
    return cache() / f"native-{sources[:32]}-{platform.node()}-{torch.__version__}-{place}"


def library() -> Path | None:
    """The built library, if there is one, which a user without a home, or without access to it, has not."""
    with suppress(UserError):
        path = folder() / "lib" / "liblatent_encoder.so"
        return path if os.path.exists(path) else None
    return None


def program() -> Path:
    """The program `latent-encode`, whether it is built or not."""
    return folder() / "bin" / "latent-encode"


def build() -> Path:
    """Build for this machine, in half a minute, and return `folder()`; nothing is done where that is there already.

    Raises UserError where cmake or a C++ compiler is missing, or does not succeed.
    """
    import torch

    target = folder()
    if target.exists():
        return target
    for tool in ("cmake", os.environ.get("CXX", "c++")):
        if not shutil.which(tool):
            raise UserError(f"{tool} is not installed: building the C++ encoder needs cmake and a C++20 compiler")
    check_writable(target.parent)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        work, installed = f"{scratch}/build", f"{scratch}/installed"
        for step in (
            ["cmake", "-S", str(Path(__file__).parent), "-B", work, f"-DTORCH={torch.__path__[0]}"],
            ["cmake", "--build", work, "--parallel"],
            ["cmake", "--install", work, "--prefix", installed],
        ):
            done = subprocess.run(step, capture_output=True, text=True)
            if done.returncode:
                said = [line for line in (done.stdout + done.stderr).splitlines() if "rror" in line] or [""]
                raise UserError(f"the C++ encoder cannot be built: {' '.join(step)} failed ({said[0].strip()})")
        try:
            os.replace(installed, target)
        except OSError:
            if not target.exists():  # where it does, another process was faster
                raise
    return target


def copy(target: Path) -> None:
    """Copy what is built to a folder that does not exist, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        os.replace(shutil.copytree(folder(), f"{scratch}/whole"), target)
