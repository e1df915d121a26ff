"""Files and configs of strangers: each is read as it is or refused in one line, and no code in them runs.

What fuzzers found is kept here as examples: a coverage-guided one on the readers of IDX, .npz and configs, and those
of hypothesis below.
"""

import datetime
import gzip
import io
import os
import pickle
import re
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from collections import namedtuple

import numpy as np
import onnx
import pytest
import safetensors.torch
import yaml
from conftest import ROOT, SAMPLE, write_idx
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from export import Encoder
from export.codes import decode_file
from export.graphs import export
from export.images import open_images
from export.runtime import open_session
from vae import files, grid
from vae.cli import main
from vae.config import complete as complete_config
from vae.data import dataset, pictures, readers, source
from vae.data.idx import parse_idx, read_idx
from vae.errors import LONGEST, UserError
from vae.grid import Network, Spec
from vae.models.networks import Networks
from vae.models.vae import build, check_grid
from vae.training import checkpoint

SCHEMA = yaml.safe_load((ROOT / "vae/config.schema.yaml").read_text())
IMAGES = np.arange(72, dtype=np.uint8).reshape(6, 4, 3)
LABEL = "L3_DNN1_DNN1"
fuzz = settings(deadline=None, max_examples=300)


def outcome(call, *arguments):
    """What a call gives, or the one line that it refuses its arguments with; nothing else may come out of it."""
    try:
        return call(*arguments)
    except UserError as error:
        message = str(error)
        assert len(message) <= LONGEST
        assert message.isprintable()
        return message


def damaged(raw):
    """`raw` with a few bytes changed, cut, or put in."""

    def damage(changes):
        spoilt = bytearray(raw)
        for place, (cut, new) in changes:
            spoilt[place : place + cut] = new
        return bytes(spoilt)

    flip = st.tuples(st.just(1), st.binary(min_size=1, max_size=1))
    change = st.tuples(st.integers(0, len(raw)), flip | st.tuples(st.integers(0, 40), st.binary(max_size=8)))
    return st.lists(change, min_size=1, max_size=4).map(damage) | st.binary(max_size=64)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("strangers")


class Evil:
    """Runs code where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("pwned",)


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path, monkeypatch):
    """Whatever a test reads, nothing is written to the folder it runs in but what the test writes there itself."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / "pwned").exists()


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: namedtuple("Memory", "available")(2**20))


@pytest.fixture
def no_memory_taken():
    """That the test's calls never hold more than some MiB together."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


def test_a_message_is_one_bounded_line_that_a_terminal_can_show():
    assert str(UserError("α × 3 … “fine”")) == "α × 3 … “fine”"
    assert str(UserError("a\nb\r\x1b[2J\0\ud800")) == "a b  [2J  "
    long = str(UserError(f"file: {'x' * 10**6}; delete it"))
    assert len(long) == LONGEST
    assert long.startswith("file: x")
    assert long.endswith("x; delete it")


# IDX


def header(*shape):
    return b"\0\0\x08" + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


IDX_OF_STRANGERS = [
    (header(2**32 - 1, 2**32 - 1, 2**32 - 1), "truncated: .* at most"),
    (header(2**20, 2**10, 2**10), "truncated: .* at most"),
    (header(1, 2, 3) + bytes(2**24), "too long: .* more are there"),
    (header(1, 2, 3) + bytes(5), "truncated: .* 5 are there"),
    (b"\0\0\x08\xff" + struct.pack(">255I", *[1] * 255) + b"\0", "255 dimensions"),
]


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"])
@pytest.mark.parametrize(("raw", "message"), IDX_OF_STRANGERS)
def test_an_idx_file_takes_no_more_memory_than_it_holds(scratch, name, raw, message, no_memory_taken):
    (scratch / name).write_bytes(gzip.compress(raw, 1) if name.endswith(".gz") else raw)
    with pytest.raises(UserError, match=message):
        read_idx(scratch / name)


def test_what_is_larger_than_the_free_memory_is_refused(scratch, little_memory, no_memory_taken):
    big = np.zeros((2, 2**10, 2**10), np.uint8)
    write_idx(scratch / "big.gz", big)
    np.savez_compressed(scratch / "big.npz", train_images=big, test_images=big)
    del big
    tracemalloc.reset_peak()
    for read, name in ((read_idx, "big.gz"), (readers.read, "big.npz")):
        with pytest.raises(UserError, match=rf"{name}.* takes 2 MiB, 1 MiB of memory are free"):
            read(scratch / name)


@fuzz
@given(damaged(header(*IMAGES.shape) + IMAGES.tobytes()))
@example(b"\0\0\x08\x41" + struct.pack(">65I", *[1] * 65) + b"\0")
@example(header(2**32 - 1, 2**32 - 1, 0, 2**32 - 1))
def test_any_bytes_are_an_idx_array_or_refused(raw):
    array = outcome(parse_idx, io.BytesIO(raw), len(raw), "stranger")
    assert isinstance(array, str) or header(*array.shape) + array.tobytes() == raw


def first_images(path):
    images = open_images(path, IMAGES.shape[1:])
    return next(images.chunks(4)) if images.count < 2**20 else "too large for a test"


def sound(name):
    stream = io.BytesIO()
    if name == "images.npy":
        np.save(stream, IMAGES)
    elif name == "pngs/0.png":
        Image.fromarray(IMAGES[0]).save(stream, "PNG")
    else:
        raw = header(*IMAGES.shape) + IMAGES.tobytes()
        stream.write(gzip.compress(raw) if name.endswith(".gz") else raw)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["idx", "idx.gz", "images.npy", "pngs/0.png"])
def test_any_file_of_images_is_read_or_refused(scratch, name):
    path = scratch / name
    path.parent.mkdir(exist_ok=True)

    @fuzz
    @given(damaged(sound(name)))
    @example(sound("pngs/0.png")[:52] + b"80a" + sound("pngs/0.png")[52:])  # Pillow raises SyntaxError
    @example(header(2, 2**32 - 1, 0, 2**32 - 1))
    def check(raw):
        path.write_bytes(raw)
        outcome(first_images, path if path.parent == scratch else path.parent)

    check()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "PPM", "TIFF", "WEBP"])
def test_any_picture_of_a_dataset_is_read_or_refused(scratch, monkeypatch, kind):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)  # which spares the time of larger ones
    path = scratch / "picture.png"
    pixels = np.arange(6 * 5 * 3, dtype=np.uint8).reshape(6, 5, 3)
    Image.fromarray(pixels).save(whole := io.BytesIO(), kind)

    @settings(fuzz, max_examples=100)
    @given(damaged(whole.getvalue()))
    def check(raw):
        path.write_bytes(raw)
        with warnings.catch_warnings(), pictures.no_bombs():
            warnings.simplefilter("ignore", UserWarning)  # what Pillow has to say of damaged EXIF or TIFF
            found = outcome(pictures.read, path)
        assert isinstance(found, str) or (found.dtype == np.uint8 and found.ndim in (2, 3))

    check()


# .npz


def npz(**arrays):
    stream = io.BytesIO()
    sound = {"train_images": IMAGES, "test_images": IMAGES, "train_labels": np.arange(6), "test_labels": np.arange(6)}
    np.savez(stream, **sound | arrays)
    return stream.getvalue()


def with_member(content, name="train_images.npy"):
    stream = io.BytesIO(npz())
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(made := io.BytesIO(), "w") as new:
        for member in old.namelist():
            new.writestr(member, content if member == name else old.read(member))
    return made.getvalue()


def npy(shape, descr="|u1", content=b""):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue() + content


def encrypted(archive):
    """The same zip, whose directory says that its files are encrypted."""
    raw, start = bytearray(archive), archive.index(b"PK\1\2")
    while raw[start : start + 4] == b"PK\1\2":
        raw[start + 8] |= 1
        start += 46 + sum(int.from_bytes(raw[start + at : start + at + 2], "little") for at in (28, 30, 32))
    return bytes(raw)


NPZ_OF_STRANGERS = {
    "claims a terabyte": with_member(npy((2**20, 2**10, 2**10), content=bytes(8))),
    "claims more than can be counted": with_member(npy((2**40, 2**40), content=bytes(8))),
    "claims nothing of endless size": with_member(npy((0, 2**70, 3))),
    "claims less than nothing": with_member(npy((-1, -6), content=bytes(6))),
    "has bytes behind": with_member(npy((1, 2, 3), content=bytes(7))),
    "has no header": with_member(b""),
    "has a header of another version": with_member(b"\x93NUMPY\x03\x00" + npy((1, 2, 3))[8:] + bytes(6)),
    "is nested": with_member(npy((1, 2, 3)).replace(b"(1, 2, 3), }", b"(" * 9 + b", }")),
    "is pickled": with_member(npy((1,), "|O", pickle.dumps(Evil()))),
    "is a pickle": with_member(pickle.dumps(Evil())),
    "is text": with_member(npy((1, 1, 1), "<U1", bytes(4))),
    "is encrypted": encrypted(npz()),
    "is packed by no known method": npz().replace(b"\0\0\0\0\0\0!\0", b"\0\0\x63\0\0\0!\0"),
    "is not a zip": pickle.dumps(Evil()),
}


@pytest.mark.parametrize("what", NPZ_OF_STRANGERS)
def test_an_npz_of_a_stranger_is_refused_in_a_line(scratch, what, no_memory_taken):
    path = scratch / "own.npz"
    path.write_bytes(NPZ_OF_STRANGERS[what])
    message = outcome(readers.read, path)
    assert isinstance(message, str)
    assert str(path) in message


def test_members_of_an_npz_that_nobody_asks_for_are_left_alone(scratch, little_memory):
    (scratch / "own.npz").write_bytes(npz(**{"../../pwned": IMAGES, "object": np.array([Evil()]), "big": bytes(2**21)}))
    assert set(readers.read(scratch / "own.npz").arrays) == set(dataset.PARTS)


@fuzz
@given(damaged(npz()) | damaged(npy(IMAGES.shape, content=IMAGES.tobytes())).map(with_member))
def test_any_bytes_are_a_dataset_or_refused(scratch, raw):
    (scratch / "own.npz").write_bytes(raw)
    outcome(readers.read, scratch / "own.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"train_images": np.full((6, 4, 3), np.nan)}, "images are uint8"),
        ({"train_images": np.zeros((0, 4, 3), np.uint8)}, "is empty"),
        ({"train_images": np.zeros((6, 0, 3), np.uint8)}, "is empty"),
        ({"train_images": np.zeros(6, np.uint8)}, "images are uint8"),
        ({"train_images": np.uint8(6)}, "images are uint8"),
        ({"train_labels": np.array([np.nan] * 6)}, "labels are integers"),
        ({"train_labels": np.int64(1)}, "labels are integers"),
    ],
)
def test_arrays_that_are_no_images_or_labels_are_refused(scratch, arrays, message):
    (scratch / "own.npz").write_bytes(npz(**arrays))
    with pytest.raises(UserError, match=message):
        readers.read(scratch / "own.npz")


def test_labels_may_be_any_integers(scratch):
    (scratch / "own.npz").write_bytes(npz(train_labels=np.array([-3, 2**62, 0, 0, 1, 1])))
    assert readers.read(scratch / "own.npz").train_labels.tolist() == [-3, 2**62, 0, 0, 1, 1]


@pytest.mark.parametrize("path", ["a\0b", "a" * 5000, "\ud800", "/dev/null/x", "own\n.npz", "a\0.npz", ".npz", ""])
def test_a_path_that_no_file_can_have_is_refused(path):
    given = {"name": "own", "path": path, "validation_images": None, "binarise": False}
    assert isinstance(outcome(source.load, given), str)


# configs

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=5)
    | st.dates()
    | st.sampled_from([10**400, 2**63, "DNN1", "DNN0", "CNN" + "9" * 5000, "9" * 5000, "x" * 10**5])
)
SECTIONS = st.sampled_from([*SCHEMA["properties"], *(key for part in SCHEMA["properties"].values() for key in part)])
KEYS = SECTIONS | st.text(max_size=5) | st.integers() | st.none() | st.dates()
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4))


def valid(config):
    complete = complete_config(config, SCHEMA)
    grid.expand(complete)
    return complete


def one_key(tree):
    """Configs that are sound but for one key: the others are reached by chance too seldom."""
    return st.sampled_from(list(SCHEMA["properties"])).flatmap(
        lambda section: st.fixed_dictionaries(
            {
                section: st.dictionaries(
                    st.sampled_from(list(SCHEMA["properties"][section].get("properties", "x"))), tree
                )
            }
        )
    )


def nested(depth):
    tree = []
    for _ in range(depth):
        tree = [tree]
    return tree


def endless():
    tree = {}
    tree["grid"] = tree
    return tree


def bomb():
    tree = [1] * 10
    for _ in range(15):
        tree = [tree] * 10
    return tree


@fuzz
@given(st.dictionaries(KEYS, TREES, max_size=4) | one_key(TREES))
@example({"training": {"learning_rate": 10**400}})
@example({"grid": {"latent_sizes": [10**9]}})
@example({"networks": {"hidden_units": 10**12}})
@example({"grid": {"encoders": ["DNN" + "9" * 5000]}})
@example({"grid": {"sweep": {1: [2]}}})
@example({"grid": {"sweep": {"dataset": None, 0: None}}})
@example({"grid": {"sweep": {datetime.date(2000, 1, 1): None}}})
@example({"grid": {"sweep": {"objective.beta": ["x" * 10**5, None]}}})
@example({"grid": {"tune": {"training.learning_rate": [10**400]}}})
@example({"dataset": {"name": "mnist\n"}})
@example({"dataset": {"name": {1: datetime.date(1, 1, 1)}}})
def test_any_config_is_completed_or_explained(config):
    complete = outcome(valid, config)
    assert isinstance(complete, str) or set(complete) == set(SCHEMA["properties"])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"networks": {"hidden_units": 10**12}}, "networks.hidden_units: 1000000000000 is greater than the maximum"),
        ({"networks": {"base_channels": 10**12}}, "networks.base_channels: 1000000000000 is greater than the maximum"),
        ({"grid": {"latent_sizes": [10**9]}}, r"grid.latent_sizes\[0\]: 1000000000 is greater than the maximum"),
        ({"evaluation": {"prior_samples": 10**12}}, "evaluation.prior_samples: .* is greater than the maximum"),
        (
            {"grid": {"sweep": {f"training.{key}": list(range(1, 200)) for key in ("epochs", "images", "batch_size")}}},
            "grid.sweep: more than 10000 combinations of values",
        ),
        ({"grid": {"encoders": ["DNN99999999999"]}}, "'DNN99999999999' is not a network"),
        ({"grid": {"encoders": ["DNN1٣"]}}, "is not a network"),
        ({"training": {"seeds": [10**5000]}}, "config: a whole number of more than 18 digits"),
        ({10**5000: 1}, "config: a whole number of more than 18 digits"),
        ({"training": {"learning_rate": 10**400}}, "config: a whole number of more than 18 digits"),
        ({"training": {"seeds": bomb()}}, "config: more than 100000 values"),
        ({"x": nested(5000)}, "config: nested deeper than 10 levels"),
        (endless(), "config: nested deeper than 10 levels"),
        ({"dataset": {"name": "mnist\n"}}, "dataset.name: .* does not match"),
        ({"dataset": {"path": "a\nb"}}, "dataset.path: .* does not match"),
        ({"dataset": {"path": "{params}"}}, "dataset.path: .* does not match .* no braces"),
    ],
)
def test_a_config_beyond_all_bounds_is_refused(config, message, no_memory_taken):
    with pytest.raises(UserError, match=message):
        valid(config)


def test_the_widest_networks_are_checked_without_taking_memory():
    widest = {"networks": {"hidden_units": 10**6}, "grid": {"latent_sizes": [10**6], "encoders": ["DNN16"]}}
    check_grid(complete_config(widest, SCHEMA), (28, 28))  # of 60 TB


def test_a_network_of_more_bytes_than_can_be_counted_is_refused():
    wide = {"networks": {"base_channels": 10**6}, "grid": {"encoders": ["CNN16"], "decoders": ["DNN1"]}}
    with pytest.raises(UserError, match="networks: CNN16 at latent size 25 is too wide for any memory"):
        check_grid(complete_config(wide, SCHEMA), (2**16, 2**16))


MERGED = "a: &a {x: 1}\n" + "".join(
    f"{b}: &{b} {{<<: [{', '.join(['*' + a] * 10)}]}}\n" for a, b in zip("abcdef", "bcdefg")
)
YAML_OF_STRANGERS = {
    "runs code": b"!!python/object/apply:os.mkdir [pwned]",
    "runs code below": b"a: !!python/object/new:os.mkdir [pwned]",
    "names a function": b"a: !!python/name:os.system",
    "merges aliases of aliases": MERGED.encode(),
    "has aliases of aliases": b"a: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]",
    "contains itself": b"&a {x: *a}",
    "is nested": b"a: " + b"[" * 10**5,
    "is long": b"a: [" + b"1," * 10**5 + b"]",
    "is a long number": b"a: " + b"9" * 5000,
    "is empty": b"",
    "is a list": b"[1]",
    "is a text": b"x",
    "is several": b"--- {a: 1}\n--- {b: 2}",
    "is UTF-16": "a: 1".encode("utf-16"),
    "is Latin-1": "a: é".encode("latin-1"),
    "has a null": b"a: \0",
    "has a list for a key": b"? [1]\n: 2",
    # PyYAML's constructors raise IndexError, KeyError, AttributeError, TypeError here.
    "is no integer": b"a: !!int ''",
    "is no float": b"a: !!float ''",
    "is no truth": b"a: !!bool x",
    "is no time": b"a: !!timestamp x",
    "is no date": b"a: 2001-13-45",
    "is no tag": b"a: !<x> 1",
    "is packed": gzip.compress(b"a: 1"),
}


@pytest.mark.parametrize("what", YAML_OF_STRANGERS)
def test_a_config_file_of_a_stranger_is_refused_in_a_line(tmp_path, what):
    (tmp_path / "config.yaml").write_bytes(YAML_OF_STRANGERS[what])
    message = outcome(files.read_config, str(tmp_path / "config.yaml"))
    assert isinstance(message, str)
    assert "config.yaml" in message


@fuzz
@given(damaged((ROOT / "tests/study.yaml").read_bytes()) | st.text(max_size=50).map(str.encode))
def test_any_config_file_is_read_or_refused(scratch, raw):
    (scratch / "config.yaml").write_bytes(raw)
    config = outcome(files.read_config, str(scratch / "config.yaml"))
    if isinstance(config, dict):
        outcome(valid, config)


@fuzz
@given(
    TREES.filter(lambda tree: isinstance(tree, dict)).map(lambda tree: repr(tree)) | damaged(b'{"a": [1]}').map(repr)
)
@example('{"a": ' + "[" * 10**5)
@example('{"a": 1' + "0" * 5000 + "}")
@example('{"a": NaN, "a": "\\ud800"}')
@example("{")
@example("a\0b")
@example("a" * 5000)
@example("/")
@example("")
def test_any_text_is_a_config_or_refused(text):
    outcome(files.read_config, text)


@fuzz
@given(st.text(max_size=20) | LEAVES)
def test_any_network_is_parsed_or_refused(text):
    parsed = outcome(Network.parse, text)
    assert isinstance(parsed, Network) or "is not a network" in parsed


@pytest.mark.parametrize("text", ["[1]", "1", "{", "[" * 10**5, '{"a": ' * 10**5, "\ud800"])
def test_json_that_is_no_object_is_named(tmp_path, text):
    (tmp_path / "provenance.json").write_bytes(text.encode(errors="surrogatepass"))
    assert "provenance.json" in outcome(files.read_json, tmp_path / "provenance.json")


@pytest.mark.slow
def test_a_path_full_of_a_shell_s_words_is_only_a_path(tmp_path):
    """The workflow quotes it, and a folder beside the results is not written to."""
    hostile = tmp_path / "own $(mkdir pwned) `mkdir pwned`; mkdir pwned; 'a' \"b\" é & | *[c]"
    hostile.symlink_to(SAMPLE)
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"dataset": {"name": "own", "path": hostile.name}}))
    options = ["--cores", "1", "--snakefile", ROOT / "Snakefile", "--configfile", ROOT / "tests/study.yaml", "own.yaml"]
    command = [sys.executable, "-m", "snakemake", "results/data/dataset.npz", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {".snakemake", "results", hostile.name, "own.yaml"}


# models and codes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model's folder: exported, with its weights and where they come from."""
    folder = tmp_path_factory.mktemp("model") / LABEL / "seed0"
    folder.mkdir(parents=True)
    model = build(Spec.parse(LABEL), IMAGES.shape[1:], Networks(4, 2), 0).eval()
    export(folder, model, IMAGES, {"label": LABEL}, check=True)
    safetensors.torch.save_file(model.state_dict(), folder / "weights.safetensors")
    networks = {"hidden_units": 4, "base_channels": 2, "encoder_parameters": None, "decoder_parameters": None}
    files.write_json(folder / "provenance.json", {"image_shape": [4, 3], "config": {"networks": networks}})
    return folder


@pytest.mark.parametrize("name", ["weights.safetensors", "provenance.json"])
def test_any_checkpoint_is_loaded_or_refused(folder, scratch, name):
    at = scratch / LABEL / "seed0"
    at.mkdir(parents=True, exist_ok=True)
    for sound in ("weights.safetensors", "provenance.json"):
        (at / sound).write_bytes((folder / sound).read_bytes())

    @fuzz
    @given(damaged((folder / name).read_bytes()))
    @example(struct.pack("<Q", 2**63) + b"{}")
    @example(pickle.dumps(Evil()))
    @example(b"[1]")
    def check(raw):
        (at / name).write_bytes(raw)
        outcome(checkpoint.load, at)

    check()


FUZZED = """
import resource, sys
from pathlib import Path
import numpy as np
from export import Encoder
from export.codes import decode_file
from vae.errors import UserError

resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
kind, rng = sys.argv[2], np.random.default_rng(0)
raw, graph = np.fromfile(sys.argv[1], np.uint8), Path(f"{kind}.onnx")
np.save("codes.npy", np.zeros((2, 3), np.float32))
for trial in range(150):
    spoilt = raw[: rng.integers(len(raw))] if trial % 10 == 0 else raw.copy()
    for _ in range(rng.integers(3)):
        spoilt[rng.integers(len(spoilt))] = rng.integers(256)
    graph.write_bytes(spoilt.tobytes())
    try:
        if kind == "encoder":
            Encoder.load(graph, "onnx", threads=1).encode(np.zeros((2, 4, 3), np.uint8))
        else:
            decode_file(graph, "codes.npy", "images.npy", 1, overwrite=True)
    except UserError as error:
        assert str(error).isprintable()
"""


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_any_graph_computes_or_is_refused(folder, tmp_path, kind):
    """In a process of its own, which a crash would end."""
    command = [sys.executable, "-c", FUZZED, folder / f"{kind}.onnx", kind]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


def decoder(weights, operation, **attributes):
    """A graph that says it takes `codes` `[N, 3]` to `images` of that shape."""
    codes, images = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 3]) for name in ("codes", "images")
    )
    node = onnx.helper.make_node(operation, ["codes", "w"], ["images"], **attributes)
    graph = onnx.helper.make_graph([node], "g", [codes], [images], [weights])
    opset = onnx.helper.make_opsetid("", 17)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


@pytest.mark.parametrize(
    ("operation", "weights", "attributes", "message"),
    [
        ("Compress", np.array([True, False, False]), {"axis": 1}, r"images is \[2, 1\], where it says \[2, 3\]"),
        ("Gather", np.array([9, 9]), {"axis": 0}, "onnxruntime cannot run it"),
    ],
)
def test_a_graph_that_fails_or_gives_another_shape_is_refused(tmp_path, operation, weights, attributes, message):
    graph = decoder(onnx.numpy_helper.from_array(weights, "w"), operation, **attributes)
    (tmp_path / "decoder.onnx").write_bytes(graph)
    np.save(tmp_path / "codes.npy", np.zeros((2, 3), np.float32))
    with pytest.raises(UserError, match=message):
        decode_file(tmp_path, tmp_path / "codes.npy", tmp_path / "images.npy")
    assert not (tmp_path / "images.npy").exists()


def with_external_weights(location):
    weights = onnx.numpy_helper.from_array(np.zeros(3, np.float32), "w")
    onnx.external_data_helper.set_external_data(weights, location, 0, 12)
    weights.ClearField("raw_data")
    return decoder(weights, "Add")


@pytest.mark.parametrize("location", ["near.bin", "../far.bin", "{}/far.bin", "link.bin", "cwd.bin"])
def test_a_graph_that_reads_weights_from_other_files_is_refused(tmp_path, location):
    (tmp_path / "model").mkdir()
    for name in ("model/near.bin", "far.bin", "cwd.bin"):
        (tmp_path / name).write_bytes(bytes(12))
    (tmp_path / "model/link.bin").symlink_to(tmp_path / "far.bin")
    (tmp_path / "model/decoder.onnx").write_bytes(with_external_weights(location.format(tmp_path)))
    message = outcome(open_session, tmp_path / "model/decoder.onnx", 1)
    assert "model/decoder.onnx: onnxruntime cannot load it" in message


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (pickle.dumps(Evil()), "not a sound .npy"),
        (npy((1, 3), "|O", pickle.dumps([Evil()] * 3)), "not a sound .npy"),
        (npy((2**40, 3), "<f4", bytes(24)), "not a sound .npy"),
        (npy((2**70, 3), "<f4", bytes(24)), "not a sound .npy"),
        (npy((2, 4), "<f4", bytes(32)), "codes are floats"),
        (npy((6,), "<f4", bytes(24)), "codes are floats"),
        (npy((2, 3), "<i4", bytes(24)), "codes are floats"),
    ],
)
def test_codes_of_a_stranger_are_refused(folder, tmp_path, codes, message):
    (tmp_path / "codes.npy").write_bytes(codes)
    with pytest.raises(UserError, match=rf"codes.npy: {message}"):
        decode_file(folder, tmp_path / "codes.npy", tmp_path / "images.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["codes.npy"]


def test_graphs_that_are_no_encoder_or_decoder_are_refused(folder, tmp_path):
    np.save(tmp_path / "codes.npy", np.zeros((2, 3), np.float32))
    with pytest.raises(UserError, match="not a decoder of this package"):
        decode_file(folder / "encoder.onnx", tmp_path / "codes.npy", tmp_path / "images.npy")
    with pytest.raises(UserError, match="not an encoder of this package"):
        Encoder.load(folder / "decoder.onnx")


LATENTS = {"mean": np.zeros((6, 3)), "log_variance": np.zeros((6, 3)), "fit_mean": np.zeros((6, 3))}
LATENTS["fit_log_variance"] = LATENTS["fit_mean"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda raw: None, "no such file"),
        (lambda raw: raw[:-50], "not a sound .npz"),
        (lambda raw: raw.replace(b"\xaa" * 8, b"\xab" * 8), "not a sound .npz .*Bad CRC-32"),
        (lambda raw: pickle.dumps(Evil()), "not a sound .npz"),
        (lambda raw: raw.replace(b"fit_indices", b"fit_somethi"), "has no array 'fit_indices'"),
    ],
)
def test_latents_that_are_damaged_are_named(tmp_path, capsys, spoil, message):
    (tmp_path / "dataset.npz").write_bytes(npz(validation_images=IMAGES, validation_labels=np.arange(6)))
    files.write_json(tmp_path / "dataset.json", {"name": "own", "source": "own", "binarised": False})
    latents = tmp_path / LABEL / "seed0/latents.npz"
    files.write_npz(latents, **LATENTS, fit_indices=np.full(6, -0x5555555555555556))
    raw = spoil(latents.read_bytes())
    latents.unlink() if raw is None else latents.write_bytes(raw)
    assert main(["quantise", "--dataset", "dataset.npz", str(latents.parent)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "latents.npz: " in line
    assert re.search(message, line)
