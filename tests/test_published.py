"""Datasets that torchvision knows, in the formats in which they were published; no network is asked."""

import bz2
import gzip
import hashlib
import io
import json
import pickle
import re
import shutil
import socket
import struct
import tarfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, SAMPLE
from torchvision import datasets

from vae import files
from vae.cli import main
from vae.data import source
from vae.data.known import KNOWN
from vae.data.published import DIGITS, PUBLISHED, class_names
from vae.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (16, 28, 28), np.uint8)
COLOUR = RNG.integers(0, 256, (30, 3, 32, 32), np.uint8)
LABELS = np.arange(30) % 10


def idx(array, kind=8):
    return gzip.compress(struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape) + array.tobytes())


def md5(content):
    return hashlib.md5(content).hexdigest()


def sides():
    """Training and test images with labels: the first 10 and the last 6 of `GREY`."""
    return (GREY[:10], LABELS[:10].astype(np.uint8)), (GREY[10:], LABELS[10:16].astype(np.uint8))


def kmnist(folder, patch):
    resources = []
    for name, (images, labels) in zip(("train", "t10k"), sides(), strict=True):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx(array)
            (folder / f"{name}-{kind}-ubyte.gz").write_bytes(content)
            resources.append((f"{name}-{kind}-ubyte.gz", md5(content)))
    patch.setattr(datasets.KMNIST, "resources", resources)
    return GREY, LABELS[:16]


def qmnist(folder, patch):
    """Its labels are eight numbers of 32 bits an image, of which the first is the class."""
    resources = {}
    for name, (images, labels) in zip(("train", "test"), sides(), strict=True):
        numbers = np.stack([labels, *[labels + 100] * 7], axis=1).astype(">i4")
        contents = {
            f"qmnist-{name}-images-idx3-ubyte.gz": idx(images),
            f"qmnist-{name}-labels-idx2-int.gz": idx(numbers, 12),
        }
        for file, content in contents.items():
            (folder / file).write_bytes(content)
        resources[name] = [(f"https://example.org/q/{file}", md5(content)) for file, content in contents.items()]
    patch.setattr(datasets.QMNIST, "resources", resources)
    return GREY, LABELS[:16]


def emnist(folder, patch):
    """All splits are in one archive, and images are published as their transpose."""
    with zipfile.ZipFile(folder / "gzip.zip", "w") as archive:
        for split, shift in (("letters", 0), ("balanced", 1)):
            for name, (images, labels) in zip(("train", "test"), sides(), strict=True):
                turned = np.ascontiguousarray(images.transpose(0, 2, 1))
                archive.writestr(f"gzip/emnist-{split}-{name}-images-idx3-ubyte.gz", idx(turned))
                archive.writestr(f"gzip/emnist-{split}-{name}-labels-idx1-ubyte.gz", idx(labels + np.uint8(shift)))
    patch.setattr(datasets.EMNIST, "md5", md5((folder / "gzip.zip").read_bytes()))
    return GREY, LABELS[:16]


def usps(folder, patch):
    """Lines of a label from 1 and 256 numbers from -1 to 1, packed."""
    images = RNG.integers(0, 256, (16, 16, 16), np.uint8)
    splits = {}
    for name, file, of in (("train", "usps.bz2", slice(10)), ("test", "usps.t.bz2", slice(10, 16))):
        lines = []
        for image, label in zip(images[of], LABELS[:16][of], strict=True):
            # A little above the level, so that torchvision, which rounds down, comes back to it.
            levels = (image.ravel().astype(np.float64) + 1e-3) / 255 * 2 - 1
            lines.append(f"{label + 1} " + " ".join(f"{place + 1}:{value:.6f}" for place, value in enumerate(levels)))
        content = bz2.compress("\n".join([*lines, ""]).encode())
        (folder / file).write_bytes(content)
        splits[name] = [f"https://example.org/u/{file}", file, md5(content)]
    patch.setattr(datasets.USPS, "split_list", splits)
    return images, LABELS[:16]


class OldPickler(pickle._Pickler):
    """As the pickles of CIFAR were written, by Python 2 and a NumPy that had no booleans in a dtype."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_dtype(self, dtype):
        self.save_reduce(np.dtype, (dtype.str[1:], 0, 1), state=dtype.__reduce__()[2], obj=dtype)

    dispatch[type(np.dtype(np.uint8))] = save_dtype


def old_pickle(content):
    stream = io.BytesIO()
    OldPickler(stream, 2).dump(content)
    return stream.getvalue()


def cifar10(folder, patch):
    """An archive of pickles: five of training images, each with rows of all red, all green and all blue pixels."""
    images, labels = COLOUR[:16], LABELS[:16]
    batches = {f"data_batch_{i + 1}": slice(2 * i, 2 * i + 2) for i in range(5)} | {"test_batch": slice(10, 16)}
    contents = {
        name: old_pickle({"data": images[of].reshape(-1, 3072), "labels": labels[of].tolist(), "batch_label": name})
        for name, of in batches.items()
    }
    contents["batches.meta"] = old_pickle({"label_names": [f"class {i}" for i in range(10)]})
    with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    of = datasets.CIFAR10
    patch.setattr(of, "tgz_md5", md5((folder / of.filename).read_bytes()))
    patch.setattr(of, "train_list", [[name, md5(contents[name])] for name in batches if name != "test_batch"])
    patch.setattr(of, "test_list", [["test_batch", md5(contents["test_batch"])]])
    patch.setitem(of.meta, "md5", md5(contents["batches.meta"]))
    return images, labels


def svhn(folder, patch):
    """MATLAB's files, with the images along the last axis, channels before it, and the label 10 for the digit 0."""
    from scipy.io import savemat

    images, labels, splits = COLOUR[:16], LABELS[:16], {}
    for name, of in (("train", slice(10)), ("test", slice(10, 16))):
        file = f"{name}_32x32.mat"
        numbers = np.where(labels[of] == 0, 10, labels[of]).astype(np.uint8)[:, None]
        savemat(folder / file, {"X": images[of].transpose(2, 3, 1, 0), "y": numbers}, do_compression=True)
        splits[name] = [f"http://example.org/s/{file}", file, md5((folder / file).read_bytes())]
    patch.setattr(datasets.SVHN, "split_list", datasets.SVHN.split_list | splits)
    return images, labels


WRITERS = {
    "kmnist": kmnist,
    "qmnist": qmnist,
    "emnist_letters": emnist,
    "usps": usps,
    "cifar10": cifar10,
    "svhn": svhn,
}
EACH = pytest.mark.parametrize("name", WRITERS)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Writes a small dataset of the name and the format of a published one: its folder, images and labels."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def write(name):
        (tmp_path / "given").mkdir()
        return tmp_path / "given", *WRITERS[name](tmp_path / "given", monkeypatch)

    return write


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def asked(name, path=None):
    return {"name": name, "path": path and str(path), "validation_images": 1}


def check(dataset, images, labels):
    every = np.sort(np.concatenate([dataset.train_images, dataset.validation_images]).reshape(10, -1), axis=0)
    np.testing.assert_array_equal(every, np.sort(images[:10].reshape(10, -1), axis=0))
    of_image = {image.tobytes(): label for image, label in zip(images, labels.tolist(), strict=True)}
    for side in ("train", "validation", "test"):
        found, numbers = getattr(dataset, f"{side}_images"), getattr(dataset, f"{side}_labels")
        assert [of_image[image.tobytes()] for image in found] == numbers.tolist()
    np.testing.assert_array_equal(dataset.test_images, images[10:])
    assert dataset.test_images.dtype == np.uint8


@EACH
def test_a_dataset_is_read_from_its_published_files(name, published, no_network):
    folder, images, labels = published(name)
    dataset = source.load(asked(name, folder))
    check(dataset, images, labels)
    assert dataset.source == f"folder {folder}"
    assert dataset.image_shape == PUBLISHED[name].shape[1:]
    assert {file.name for file in folder.iterdir()} == set(PUBLISHED[name].names)  # nothing was unpacked there
    named = {"kmnist": "o ki", "emnist_letters": "N/A a", "cifar10": "airplane automobile"}
    assert [dataset.class_name(label) for label in (0, 1)] == named.get(name, "0 1").split()


def test_every_class_of_clothes_and_of_emnist_has_its_name(monkeypatch):
    named = {name: class_names(name) for name in source._known()}
    assert named["fashion_mnist"][9] == "Ankle boot"
    assert {name: len(names) for name, names in named.items() if names} == {
        "fashion_mnist": 10, "kmnist": 10, "cifar10": 10, "emnist_digits": 10, "emnist_mnist": 10,
        "emnist_letters": 27, "emnist_balanced": 47, "emnist_bymerge": 47, "emnist_byclass": 62,
    }  # fmt: skip
    # The clothes that are known by name get them too, though their files are read without torchvision.
    monkeypatch.setitem(KNOWN, "fashion_mnist", KNOWN["mnist_sample"])
    assert source.load(asked("fashion_mnist", SAMPLE)).class_name(0) == "T-shirt/top"


@EACH
def test_the_files_of_a_dataset_are_those_that_torchvision_fetches(name):
    assert PUBLISHED[name].names == tuple(file.name for file in PUBLISHED[name].files)
    assert all(file.url.startswith("http") and file.url.endswith(f"/{file.name}") for file in PUBLISHED[name].files)


@EACH
def test_a_file_that_is_not_as_published_is_refused_before_it_is_read(name, published, no_network):
    folder, *_ = published(name)
    file = folder / PUBLISHED[name].names[-1]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(
        UserError, match=rf"dataset\.path: {folder} is not {name}: \S+/{file.name} has MD5 \w+, not \w+;"
    ):
        source.load(asked(name, folder))
    file.unlink()
    for look in (source.load, source.extent):
        with pytest.raises(UserError, match=rf"{file.name}: no such file; it takes {PUBLISHED[name].names[0]}"):
            look(asked(name, folder))


@EACH
def test_without_a_network_a_line_says_where_to_put_which_files(name, published, no_network):
    published(name)
    with pytest.raises(UserError) as error:
        source.load(asked(name))
    message = str(error.value)
    assert message.startswith(f"dataset {name} is not available; tried torchvision's mirrors: ")
    assert f"Put {', '.join(PUBLISHED[name].names)} of http" in message
    assert message.endswith(" in a folder and set dataset.path to that folder")
    assert "\n" not in message


@EACH
def test_what_was_fetched_is_kept_for_a_study_without_a_network(name, published, monkeypatch, caplog):
    folder, images, labels = published(name)
    fetched = []

    def download(url, root, filename, md5):
        if not (Path(root) / filename).exists():  # as torchvision's, which then verifies it
            fetched.append(url)
            shutil.copy(folder / filename, root)

    with monkeypatch.context() as patch:
        patch.setattr("torchvision.datasets.utils.download_url", download)
        first = source.load(asked(name))
    assert fetched == [file.url for file in PUBLISHED[name].files]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("the network was asked"))
    again = source.load(asked(name))
    check(again, images, labels)
    assert (first.source, again.source) == ("torchvision's mirrors", "the user's cache")
    assert first.sha256 == again.sha256
    assert not caplog.messages


def test_the_splits_of_emnist_share_one_archive(published, no_network):
    folder, images, labels = published("emnist_letters")
    other = source.load(asked("emnist_balanced", folder))
    check(other, images, labels + 1)
    assert files.cache().exists() is False


def test_files_are_fetched_over_http_and_verified(published, monkeypatch, tmp_path, capsys):
    folder, images, labels = published("kmnist")
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(datasets.KMNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        check(source.load(asked("kmnist")), images, labels)
        shutil.rmtree(files.cache())
        (folder / "train-images-idx3-ubyte.gz").write_bytes(idx(GREY))
        with pytest.raises(UserError, match="tried torchvision's mirrors: File not found or corrupted"):
            source.load(asked("kmnist"))
        assert not files.cache().exists()
        server.shutdown()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_a_study_will_have_is_known_before_it_is_fetched(name, no_network):
    published = PUBLISHED[name]
    shape, test_images = source.extent(asked(name))
    assert (shape[0] + 1, *shape[1:]) == published.shape
    assert test_images == published.test_images


def test_every_name_is_documented_with_its_numbers():
    text = (ROOT / "docs/reference/data.md").read_text()
    assert set(re.findall(r"`(\w+)`", text.partition("Labels are those")[0])) >= set(source._known())
    for shape, test_images in source._known().values():
        assert f"{shape[0]:,}" in text
        assert f"{test_images:,}" in text


# digits, which scikit-learn ships


def test_the_digits_are_those_of_scikit_learn_in_a_fixed_order():
    from sklearn.datasets import load_digits

    theirs, ours = load_digits(), source.load(asked("digits") | {"validation_images": 100})
    (count, *shape), tests = DIGITS
    assert (len(ours.train_images) + 100, *ours.image_shape, len(ours.test_images)) == (count, *shape, tests)
    np.testing.assert_array_equal(np.rint(ours.test_images * (16 / 255)), theirs.images[count:])
    assert ours.test_labels.tolist() == theirs.target[count:].tolist()
    assert (ours.train_images.min(), ours.train_images.max()) == (0, 255)
    assert np.bincount(ours.test_labels).min() >= 27
    assert ours.sha256 == "d29ea9581106e75cebdea3ad7d929848385bf1ed64e3675aa8e16d0d83468e9e"
    assert source.extent(asked("digits")) == ((count - 1, 8, 8), tests)
    with pytest.raises(UserError, match=r"own\.npz is data of your own; set dataset\.name to a name other than digits"):
        source.load(asked("digits", "own.npz"))


def test_a_pair_is_trained_on_digits_without_a_network(tmp_path, config, no_network):
    """As deep as images of 8×8 can be halved."""
    config |= {"dataset": asked("digits") | {"validation_images": 100}}
    config["objective"] |= {"beta": 0.1}
    config["training"] |= {"epochs": 12, "images": None, "learning_rate": 0.01}
    given, data = ["--config", json.dumps(config)], ["--dataset", str(tmp_path / "dataset.npz")]
    assert main(["dataset", *given, str(tmp_path / "dataset.npz")]) == 0
    model = tmp_path / "models/L4_CNN3_DNN1/seed0"
    assert main(["train", *given, *data, str(model)]) == 0
    metrics = json.loads((model / "metrics.json").read_text())
    assert metrics["status"] == "ok"
    assert metrics["reconstruction"] < metrics["mean_image_reconstruction"] - 1
    assert main(["train", *given, *data, str(tmp_path / "models/L4_CNN4_DNN1/seed0")]) == 2
