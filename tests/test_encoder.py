"""The three ways to a trained encoder's codes agree, and what is unsound is refused in a line."""

import copy
import json
import multiprocessing
import os
import pickle
import re
import shutil
import struct
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, write_idx
from PIL import Image

from export import Encoder, runtimes
from export.graphs import export
from vae import data
from vae.cli import main
from vae.errors import UserError
from vae.grid import Spec
from vae.models.networks import Networks
from vae.models.vae import as_inputs, build
from vae.training import checkpoint, loop
from vae.training.objective import Objective
from vae.training.recipe import Recipe, Training

WIDTHS = Networks(32, 4)


@pytest.fixture(scope="module")
def model(tmp_path_factory, sample):
    """An exported, untrained model, and its folder."""
    folder = tmp_path_factory.mktemp("model") / "L5_CNN2_DNN1" / "seed0"
    folder.mkdir(parents=True)
    built = build(Spec.parse("L5_CNN2_DNN1"), (28, 28), WIDTHS, 0).eval()
    export(folder, built, np.array(sample.test_images), {"label": "L5_CNN2_DNN1"}, check=True)
    return built, folder


@pytest.fixture(scope="module")
def pictures(sample):
    return np.array(sample.train_images[:1001])


@pytest.fixture(scope="module")
def wanted(model, pictures):
    with torch.inference_mode():
        return [part.numpy() for part in model[0].encoder(as_inputs(torch.from_numpy(pictures)))]


@pytest.mark.parametrize("runtime", ["onnx", "torchscript", "auto"])
@pytest.mark.parametrize("count", [1, 2, 7, 1000, 1001])
def test_every_runtime_computes_what_the_model_does(model, pictures, wanted, runtime, count):
    encoder = Encoder.load(model[1], runtime)
    codes = encoder.encode(pictures[:count])
    for part, expected in zip(codes, wanted, strict=True):
        assert part.dtype == np.float32
        assert np.abs(part - expected[:count]).max() <= 1e-5 * np.abs(expected).max()
    assert encoder.runtime in ("onnx", "torchscript", "native")


@pytest.mark.parametrize("runtime", ["onnx", "torchscript"])
def test_codes_do_not_depend_on_the_threads(model, pictures, runtime):
    single, parallel = (Encoder.load(model[1], runtime, threads=threads).encode(pictures) for threads in (1, 4))
    for first, second in zip(single, parallel, strict=True):
        np.testing.assert_array_equal(first, second)


def test_flat_images_and_tensors_are_taken_and_given_back_alike(model, pictures, wanted):
    encoder = Encoder.load(model[1] / "encoder.onnx")
    np.testing.assert_array_equal(encoder.encode(pictures.reshape(-1, 784))[0], encoder.encode(pictures)[0])
    mean, log_variance = encoder.encode(torch.from_numpy(pictures))
    assert isinstance(mean, torch.Tensor)
    torch.testing.assert_close(log_variance, torch.from_numpy(wanted[1]))


def test_draws_have_the_posterior_s_moments_and_follow_the_seed(model, pictures):
    encoder = Encoder.load(model[1], "onnx")
    same = np.repeat(pictures[:1], 20_000, 0)
    mean, log_variance = (part[0] for part in encoder.encode(same[:1]))
    draws = encoder.encode(same, sample=3)
    assert draws.mean(0) == pytest.approx(mean, abs=0.05)
    assert draws.std(0) == pytest.approx(np.exp(log_variance / 2), rel=0.03)
    np.testing.assert_array_equal(draws, encoder.encode(same, sample=3))
    assert not np.array_equal(draws, encoder.encode(same, sample=4))


def write_pngs(path, images):
    path.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(path / f"{i:05}.png")


WRITERS = {
    "images-idx3-ubyte": write_idx, "images-idx3-ubyte.gz": write_idx, "images.npy": np.save, "pngs": write_pngs,
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_gives_the_codes_of_its_images(model, pictures, wanted, tmp_path, name, monkeypatch):
    monkeypatch.setattr("export.encoder.CHUNK", 256)
    WRITERS[name](tmp_path / name, pictures[:600])
    encoder = Encoder.load(model[1], "onnx")
    encoder.encode_file(tmp_path / name, tmp_path / "z.npy", tmp_path / "v.npy", progress=False)
    for file, expected in zip(("z.npy", "v.npy"), wanted, strict=True):
        np.testing.assert_allclose(np.load(tmp_path / file), expected[:600], atol=1e-4)
    encoder.encode_file(tmp_path / name, tmp_path / "z.npy", sample=3, overwrite=True, progress=False)
    np.testing.assert_array_equal(np.load(tmp_path / "z.npy"), encoder.encode(pictures[:600], sample=3))


ZEROS = np.zeros((2, 28, 28), np.uint8)
UINT8 = "images are uint8 from 0 to 255, as they are, not"


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (ZEROS.astype(np.float32), f"{UINT8} float32; multiply floats from 0 to 1 by 255, round them"),
        (torch.zeros(2, 28, 28, dtype=torch.bfloat16), f"{UINT8} bfloat16; multiply floats from 0 to 1 by 255"),
        (ZEROS.astype(bool), f"{UINT8} bool; convert them to uint8, and multiply by 255"),
        (ZEROS.astype(">u2"), f"{UINT8} uint16; convert them to uint8, 16-bit grey levels after >> 8"),
        (torch.zeros(2, 28, 28, dtype=torch.int64), f"{UINT8} int64; convert them to uint8"),
        (ZEROS.tolist(), f"{UINT8} int64; convert them to uint8"),
        ("images.npy", f"{UINT8} str"),
        (ZEROS[:, :27], "images are [N, 28, 28], not [2, 27, 28]"),
        (ZEROS[0], "images are [N, 28, 28], not [28, 28]; a single image is [1, 28, 28]"),
        (ZEROS[0].ravel(), "images are [N, 28, 28], not [784]; a single image is [1, 784]"),
        (ZEROS[0, 0, 0], "images are [N, 28, 28], not []"),
        (np.zeros((2, 28, 28, 3), np.uint8), "not [2, 28, 28, 3]; the encoder takes one channel"),
        ([ZEROS[0], ZEROS[0, :27]], "images are no array: "),
        (Image.new("L", (28, 28)), "images are one picture: give a list of pictures"),
        ([Image.new("L", (28, 28)), Image.new("L", (28, 27))], "images[1]: is [27, 28], the encoder takes [28, 28]"),
        ([Image.new("L", (28, 28)), ZEROS[0]], "images[1]: is no picture, as others of the list are"),
        ([Image.new("F", (28, 28))], "images[0]: has levels of 32 bits"),
    ],
)
def test_images_that_do_not_fit_are_refused(model, images, message):
    with pytest.raises(UserError) as error:
        Encoder.load(model[1], "onnx").encode(images)
    assert message in str(error.value)


@pytest.fixture(scope="module")
def of_shape(tmp_path_factory):
    """The folder of an exported, untrained model of images of a shape."""
    folder = tmp_path_factory.mktemp("shapes")

    def exported(*shape):
        place = folder / "x".join(map(str, shape))
        if not place.exists():
            place.mkdir()
            images = np.random.default_rng(0).integers(0, 256, (5, *shape), np.uint8)
            export(place, build(Spec.parse("L5_CNN2_DNN1"), shape, WIDTHS, 0).eval(), images, {}, check=True)
        return place

    return exported


@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28)])
@pytest.mark.parametrize("given", [(28, 28), (1, 28, 28), (28, 28, 1), (784,)])
def test_one_channel_may_have_an_axis_or_none(of_shape, pictures, tmp_path, shape, given):
    encoder = Encoder.load(of_shape(*shape), "onnx")
    images, (wanted, _) = pictures[:9].reshape(-1, *given), encoder.encode(pictures[:9].reshape(-1, *shape))
    np.testing.assert_array_equal(encoder.encode(images)[0], wanted)
    for name in ("images.npy", "images-idx-ubyte"):
        WRITERS.get(name, write_idx)(tmp_path / name, images)
        encoder.encode_file(tmp_path / name, tmp_path / "z.npy", overwrite=True, progress=False)
        np.testing.assert_array_equal(np.load(tmp_path / "z.npy"), wanted)


def test_layouts_in_memory_make_no_difference(model, pictures):
    encoder, few = Encoder.load(model[1], "onnx"), pictures[:6]
    wanted, _ = encoder.encode(few)
    as_pictures = [Image.fromarray(image) for image in few]
    for images in (
        np.asfortranarray(few),
        np.repeat(few, 2, 0)[::2],
        torch.tensor(few).mT.contiguous().mT,
        list(few),
        list(torch.tensor(few)),
        as_pictures,
        tuple(image.convert("P") for image in as_pictures),
    ):
        np.testing.assert_array_equal(encoder.encode(images)[0], wanted)
    assert [part.shape for part in encoder.encode(few[:0])] == [(0, 5), (0, 5)]


def test_channels_that_come_last_are_named(of_shape):
    encoder = Encoder.load(of_shape(3, 28, 28), "onnx")
    images = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 3), np.uint8)
    with pytest.raises(UserError, match=r"not \[2, 28, 28, 3\]; they look channel-last: np.moveaxis\(images, -1, 1\)"):
        encoder.encode(images)
    wanted, _ = encoder.encode(np.moveaxis(images, -1, 1))
    np.testing.assert_array_equal(encoder.encode([Image.fromarray(image) for image in images])[0], wanted)


def damage(name, folder, images):
    path = folder / name
    WRITERS[name](path, images)
    return path


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("images-idx3-ubyte", lambda raw: raw[:-1], "takes 78400 bytes, 78399 are there"),
        ("images-idx3-ubyte", lambda raw: raw[:10], "truncated in its header"),
        ("images-idx3-ubyte", lambda raw: b"x" + raw, "not an IDX file"),
        ("images-idx3-ubyte", lambda raw: b"", "is empty"),
        ("images-idx3-ubyte", lambda raw: b"\0\0\x08\0x", "0 dimensions, where images have two to four"),
        ("images-idx3-ubyte", lambda raw: b"\0\0\x08\1\0\0\0\1x", "1 dimensions, where images have two to four"),
        ("images-idx3-ubyte", lambda raw: raw[:4] + struct.pack(">I", 2**31) + raw[8:], "78400 are there"),
        ("images-idx3-ubyte.gz", lambda raw: raw[:-2000], "truncated"),
        ("images-idx3-ubyte.gz", lambda raw: b"not gzip", "gzip"),
        ("images.npy", lambda raw: raw[:-1], "not a sound .npy"),
        ("images.npy", lambda raw: b"", "not a sound .npy"),
        ("images.npy", lambda raw: b"PK\3\4" + raw, "not a sound .npy"),
    ],
)
def test_an_unsound_file_is_named_and_nothing_is_written(model, pictures, tmp_path, capsys, name, spoil, message):
    path = damage(name, tmp_path, pictures[:100])
    path.write_bytes(spoil(path.read_bytes()))
    assert main(["encode", str(model[1]), str(path), str(tmp_path / "z.npy")]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vae: ")]
    assert str(path) in line
    assert message in line
    assert {entry.name for entry in tmp_path.iterdir()} == {name}


def test_what_is_no_model_is_named(tmp_path, model, capsys):
    images = np.zeros((1, 28, 28), np.uint8)
    np.save(tmp_path / "images.npy", images)
    (tmp_path / "broken.onnx").write_bytes(b"not a graph")
    for path, message in (
        (tmp_path / "none", "no such file"),
        (tmp_path / "broken.onnx", "onnxruntime cannot load it"),
        (model[1] / "decoder.onnx", "not an encoder of this package"),
    ):
        assert main(["encode", str(path), str(tmp_path / "images.npy"), str(tmp_path / "z.npy")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
        assert str(path) in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_runtime_of_torch_asks_torch_for_a_gpu_and_not_onnxruntime(model, pictures):
    with pytest.raises(UserError, match="device cuda: torch sees no GPU here"):
        Encoder.load(model[1], "torchscript", "cuda")
    with pytest.raises(UserError, match="no CUDAExecutionProvider; install onnxruntime-gpu"):
        Encoder.load(model[1], "onnx", "cuda")
    with pytest.raises(UserError, match="device cuda: no runtime here computes on it"):
        Encoder.load(model[1], device="cuda").encode(pictures[:3])


def test_what_cannot_be_asked_for_is_refused(model, pictures, tmp_path):
    with pytest.raises(
        UserError, match="runtime 'tensorrt' is not known; known are auto, onnx, torchscript, native, aot, int8"
    ):
        Encoder.load(model[1], "tensorrt")
    with pytest.raises(UserError, match="device 'gpu' is not known; known are auto, cpu, cuda"):
        Encoder.load(model[1], device="gpu")
    np.save(tmp_path / "images.npy", pictures[:3])
    with pytest.raises(UserError, match="need a file each"):
        Encoder.load(model[1]).encode_file(tmp_path / "images.npy", tmp_path / "z.npy", tmp_path / "z.npy")
    with pytest.raises(UserError, match=r"weights.safetensors: no such file; this runtime needs the whole folder"):
        Encoder.load(model[1], "aot")


def test_hidden_files_and_what_is_no_picture_are_left_alone(model, pictures, tmp_path):
    write_pngs(tmp_path / "pngs", pictures[:3])
    (tmp_path / "pngs/._00000.png").write_bytes(b"\0\5\x16\7 a resource fork")
    for name in (".DS_Store", "labels.csv", "Thumbs.db"):
        (tmp_path / "pngs" / name).write_bytes(b"x")
    encoder = Encoder.load(model[1], "onnx")
    encoder.encode_file(tmp_path / "pngs", tmp_path / "z.npy", progress=False)
    np.testing.assert_array_equal(np.load(tmp_path / "z.npy"), encoder.encode(pictures[:3])[0])


def animated(path, images):
    first, *rest = map(Image.fromarray, images)
    first.save(path, save_all=True, append_images=rest)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda at, images: Image.fromarray(images[0][:20]).save(at),
            "00002.png: is [20, 28], the encoder takes [28, 28]",
        ),
        (lambda at, images: at.write_bytes(at.read_bytes()[:-30]), "00002.png: "),
        (lambda at, images: animated(at, images[:2]), "00002.png: has 2 frames"),
        (
            lambda at, images: Image.fromarray(images[0]).save(at, "GIF"),
            "00002.png: not a sound picture",
        ),
    ],
)
def test_a_picture_that_does_not_fit_is_named(model, pictures, tmp_path, spoil, message):
    write_pngs(tmp_path / "pngs", pictures[:3])
    spoil(tmp_path / "pngs/00002.png", pictures)
    with pytest.raises(UserError) as error:
        Encoder.load(model[1]).encode_file(tmp_path / "pngs", tmp_path / "z.npy", progress=False)
    assert message in str(error.value)
    assert {path.name for path in tmp_path.iterdir()} == {"pngs"}


def test_places_without_images_say_where_they_may_be(model, pictures, tmp_path):
    write_pngs(tmp_path / "class0", pictures[:1])
    np.savez(tmp_path / "x.npz", images=pictures[:1])
    (tmp_path / "empty").mkdir()
    for place, message in (
        (tmp_path, "has no pictures (*.png, *.jpg, …); those of its folders are not read, give one of them"),
        (tmp_path / "empty", "empty: has no pictures"),
        (tmp_path / "x.npz", "x.npz: images are read from .npy, IDX (plain or .gz) or pictures"),
    ):
        with pytest.raises(UserError) as error:
            Encoder.load(model[1]).encode_file(place, tmp_path / "z.npy")
        assert message in str(error.value)


def test_pictures_without_pillow_are_a_line(model, pictures, tmp_path, monkeypatch):
    write_pngs(tmp_path / "pngs", pictures[:1])
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "vae.data.pictures", raising=False)
    monkeypatch.delattr(data, "pictures", raising=False)
    with pytest.raises(UserError, match=r"reading pictures needs PIL, which is not installed: pip install '.\[view\]'"):
        Encoder.load(model[1]).encode_file(tmp_path / "pngs", tmp_path / "z.npy")


def test_a_file_beside_the_codes_says_which_row_is_which_picture(model, pictures, tmp_path, capsys):
    (tmp_path / "pngs").mkdir()
    for i in (1, 2, 10):
        Image.fromarray(pictures[i]).save(tmp_path / f"pngs/{i}.png")
    given = ["encode", str(model[1]), str(tmp_path / "pngs"), str(tmp_path / "z.npy")]
    assert main(given) == 0
    assert "pngs: rows are in the order of names as text: 10.png comes before 2.png" in capsys.readouterr().err
    names = tmp_path / "z.files.json"
    assert json.loads(names.read_text()) == {"files": ["1.png", "10.png", "2.png"]}
    np.testing.assert_allclose(
        np.load(tmp_path / "z.npy"), Encoder.load(model[1]).encode(pictures[[1, 10, 2]])[0], atol=1e-5
    )
    (tmp_path / "z.npy").unlink()
    assert main(given) == 2
    assert f"{names}: already exists" in capsys.readouterr().err
    np.save(tmp_path / "x.npy", pictures[:2])
    assert main([*given[:2], str(tmp_path / "x.npy"), given[3], "--overwrite"]) == 0
    assert not names.exists()  # it was of other codes


def test_images_of_zero_and_one_are_warned_of(model, pictures, tmp_path, caplog):
    dark, encoder = (pictures[:9] > 127).astype(np.uint8), Encoder.load(model[1], "onnx")
    np.save(tmp_path / "dark.npy", dark)
    encoder.encode(dark)
    encoder.encode_file(tmp_path / "dark.npy", tmp_path / "z.npy", progress=False)
    assert [message.split(":")[0] for message in caplog.messages] == [
        encoder.label,
        f"{tmp_path}/dark.npy, {encoder.label}",
    ]
    assert all("the brightest pixel is 1, where white is 255" in message for message in caplog.messages)
    caplog.clear()
    for sound in (dark * 255, dark * 0, dark * 2, pictures[:9], dark[:0]):
        encoder.encode(sound)
    assert not caplog.messages


def test_codes_that_are_not_finite_are_warned_of_and_so_are_their_images(tmp_path, pictures, capsys, monkeypatch):
    monkeypatch.setattr("export.encoder.CHUNK", 4)
    diverged = build(Spec.parse("L3_DNN1_DNN1"), (28, 28), WIDTHS, 0)
    torch.nn.init.constant_(diverged.encoder.heads.bias, float("inf"))
    export(tmp_path, diverged.eval(), pictures[:3], {"label": "L3_DNN1_DNN1"}, check=False)
    x, z, y = (str(tmp_path / f"{name}.npy") for name in "xzy")
    np.save(x, pictures[:6])
    assert main(["encode", str(tmp_path), x, z]) == 0
    warning = f"vae: WARNING: {x}, L3_DNN1_DNN1: codes of 6 of 6 images are not finite; the model may have diverged"
    assert warning in capsys.readouterr().err.splitlines()
    np.save(z, np.array([[0, 1, 2], [0, np.nan, 2]], np.float32))
    assert main(["decode", str(tmp_path), z, y]) == 0
    assert capsys.readouterr().err == f"vae: WARNING: {z}: 1 of 2 codes are not finite; their images are meaningless\n"


def same(codes, wanted):
    for part, expected in zip(codes, wanted, strict=True):
        np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize("runtime", ["onnx", "torchscript", "auto"])
def test_a_copy_and_a_pickle_open_the_model_anew(model, pictures, runtime, tmp_path, monkeypatch):
    monkeypatch.chdir(model[1].parent)
    encoder = Encoder.load("seed0", runtime)
    wanted, chosen = encoder.encode(pictures), encoder.runtime
    raw = pickle.dumps(encoder)
    monkeypatch.chdir(tmp_path)  # a pickle is read where it may be read
    for other in (copy.copy(encoder), copy.deepcopy(encoder), pickle.loads(raw)):
        same(other.encode(pictures), wanted)
        assert other._runs[os.getpid(), chosen] is not encoder._runs[os.getpid(), chosen]
        assert (other.runtime, other.label) == (chosen, encoder.label)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(("runtime", "start"), [("onnx", "spawn"), ("onnx", "fork"), ("torchscript", "fork")])
def test_processes_give_the_same_codes(model, pictures, runtime, start):
    encoder = Encoder.load(model[1], runtime, threads=2)
    wanted = encoder.encode(pictures)
    with ProcessPoolExecutor(2, multiprocessing.get_context(start)) as pool:
        for done in [pool.submit(encoder.encode, pictures) for _ in range(3)]:
            same(done.result(timeout=120), wanted)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("runtime", ["onnx", "torchscript"])
def test_an_encoder_that_a_fork_inherits_gives_the_same_codes(model, pictures, runtime):
    encoder = Encoder.load(model[1], runtime, threads=2)
    wanted = encoder.encode(pictures)
    ours, theirs = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(
        target=lambda: theirs.send((encoder.encode(pictures), len(encoder._runs)))
    )
    child.start()
    theirs.close()  # so that the end of the child is the end of what it says
    codes, sessions = ours.recv()
    child.join()
    same(codes, wanted)
    assert sessions == len(encoder._runs) + 1


@pytest.mark.parametrize("runtime", ["onnx", "torchscript", "auto"])
def test_threads_that_share_an_encoder_get_the_same_codes_and_torch_its_threads_back(model, pictures, runtime):
    encoder, before = Encoder.load(model[1], runtime, threads=2), torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with ThreadPoolExecutor(6) as pool:
            codes = list(pool.map(lambda _: encoder.encode(pictures), range(12)))
        with ThreadPoolExecutor(1) as pool:
            numbers = [torch.get_num_threads(), pool.submit(torch.get_num_threads).result()]
    finally:
        torch.set_num_threads(before)
    for each in codes:
        same(each, codes[0])
    assert numbers == [3, 3]


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_an_onnxruntime_for_gpus_where_there_is_none_is_said_or_computes_on_the_cpu(model, pictures, monkeypatch):
    """As onnxruntime-gpu does: it names the provider, and opens sessions without."""
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: list(runtimes.PROVIDERS.values()))
    encoder = Encoder.load(model[1], "onnx")
    assert encoder._runtime("onnx").batch == runtimes.ONNX_BATCH
    same(encoder.encode(pictures), Encoder.load(model[1], "onnx", "cpu").encode(pictures))
    with pytest.raises(UserError, match="device cuda: onnxruntime finds no GPU here, or not the CUDA libraries"):
        Encoder.load(model[1], "onnx", "cuda")


def test_a_user_without_a_home_has_codes(model, pictures, nobody):
    """Also where the C++ core is looked for in the cache, which has no place."""
    encoder = Encoder.load(model[1])
    assert encoder.encode(pictures)[0].shape == (1001, 5)
    with pytest.raises(UserError, match="run `vae native build`"):
        Encoder.load(model[1], "native")


def test_a_file_that_exists_is_kept_unless_it_may_be_overwritten(model, pictures, tmp_path, capsys):
    np.save(tmp_path / "images.npy", pictures[:3])
    (tmp_path / "z.npy").write_text("mine")
    given = ["encode", str(model[1]), str(tmp_path / "images.npy"), str(tmp_path / "z.npy")]
    assert main(given) == 2
    assert "exists" in capsys.readouterr().err
    assert (tmp_path / "z.npy").read_text() == "mine"
    assert main([*given, "--overwrite"]) == 0
    assert np.load(tmp_path / "z.npy").shape == (3, 5)


def test_codes_come_back_as_images(model, tmp_path):
    codes = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
    np.save(tmp_path / "z.npy", codes)
    assert main(["decode", str(model[1]), str(tmp_path / "z.npy"), str(tmp_path / "x.npy")]) == 0
    with torch.inference_mode():
        wanted = model[0].decoder(torch.from_numpy(codes)).sigmoid().reshape(-1, 28, 28).numpy() * 255
    images = np.load(tmp_path / "x.npy")
    assert images.dtype == np.uint8
    assert np.abs(images - wanted).max() <= 0.51
    np.save(tmp_path / "z.npy", codes[:, :4])
    assert main(["decode", str(model[1]), str(tmp_path / "z.npy"), str(tmp_path / "y.npy")]) == 2
    assert not (tmp_path / "y.npy").exists()


def test_the_onnx_path_needs_onnxruntime_and_numpy_alone(model, pictures, tmp_path):
    """In a process that can import nothing else of what the package depends on."""
    np.save(tmp_path / "images.npy", pictures[:10])
    program = f"""
import sys
blocked = ("torch", "yaml", "pandas", "scipy", "sklearn", "matplotlib", "onnx", "PIL", "snakemake", "jsonschema")
sys.modules |= dict.fromkeys(blocked)
from export import Encoder
encoder = Encoder.load({str(model[1])!r})
encoder.encode_file({str(tmp_path / "images.npy")!r}, {str(tmp_path / "z.npy")!r})
print(encoder.runtime, encoder.label, encoder.image_shape, encoder.latent_size)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "onnx L5_CNN2_DNN1 (28, 28) 5"
    assert np.load(tmp_path / "z.npy").shape == (10, 5)


def limited(model, tmp_path, few, limit):
    """Runs `vae encode` on a file in a process under a limit that is set once all is loaded and warm."""
    program = f"""
import resource, sys
from export import Encoder
from vae.cli import main
encoder = Encoder.load({str(model[1])!r}, "onnx", threads=2)
encoder.encode_file({str(few)!r}, {str(tmp_path / "warm.npy")!r}, progress=False)
Encoder.load = lambda *given: encoder
{limit}
sys.exit(main(["encode", "warm", sys.argv[1], {str(tmp_path / "z.npy")!r}, "--log", {str(tmp_path / "log")!r}]))
"""
    return lambda path: subprocess.run([sys.executable, "-c", program, path], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["images-idx3-ubyte", "images.npy"])
def test_a_file_larger_than_the_memory_is_encoded(model, pictures, tmp_path, name):
    """Of 470 MB, all of it black but the first images, where 200 MB may be taken."""
    few, many, count = tmp_path / "few.npy", tmp_path / name, 600_000
    np.save(few, pictures)
    with open(many, "wb") as stream:
        if name.endswith(".npy"):
            header = {"descr": "|u1", "fortran_order": False, "shape": (count, 28, 28)}
            np.lib.format.write_array_header_1_0(stream, header)
        else:
            stream.write(b"\0\0\x08\x03" + struct.pack(">3I", count, 28, 28))
        start = stream.tell()
        stream.write(pictures.tobytes())
    os.truncate(many, start + count * 784)  # what is not written takes no disk either
    limit = """
taken = int(next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (taken + 200 * 2**20,) * 2)
"""
    done = limited(model, tmp_path, few, limit)(many)
    assert done.returncode == 0, done.stderr
    codes, wanted = np.load(tmp_path / "z.npy", mmap_mode="r"), np.load(tmp_path / "warm.npy")
    assert codes.shape == (count, 5)
    np.testing.assert_array_equal(codes[:1001], wanted)
    assert (codes[1001:] == codes[-1]).all()


def test_a_full_disk_is_a_line_and_leaves_nothing(model, pictures, tmp_path):
    """As a limit of what a process may write, which the system refuses in the same place."""
    few, many = tmp_path / "few.npy", tmp_path / "many.npy"
    np.save(few, pictures[:10])
    np.save(many, np.tile(pictures, (20, 1, 1)))
    done = limited(model, tmp_path, few, "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000,) * 2)")(many)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == f"vae: ERROR: {tmp_path / 'z.npy'}: File too large"
    assert {path.name for path in tmp_path.iterdir()} == {"few.npy", "many.npy", "warm.npy", "log"}


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="AOTInductor needs g++")
def test_the_compiled_encoder_computes_the_same_and_is_compiled_once(tmp_path, sample, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder, spec = tmp_path / "L3_DNN1_DNN1" / "seed0", Spec.parse("L3_DNN1_DNN1")
    images = torch.tensor(sample.train_images[:50])
    objective = Objective("bernoulli", 0.1, 1.0, "sum")
    recipe = Recipe(Networks(8, 2), objective, Training("adam", 0.001, 10, 1, None))
    trained = loop.train(spec, 0, images, recipe, torch.device("cpu"))
    checkpoint.save(folder, trained, {}, recipe, {"image_shape": [28, 28], "name": "sample", "sha256": ""})
    export(folder, trained.model.eval(), images.numpy(), {}, check=True)
    wanted = Encoder.load(folder, "onnx").encode(images)
    torch.testing.assert_close(Encoder.load(folder, "aot", "cpu").encode(images), wanted)
    (package,) = (tmp_path / "cache/vae-encoders").iterdir()
    made = package.stat().st_mtime_ns
    torch.testing.assert_close(Encoder.load(folder, "aot", "cpu").encode(images[:1])[0], wanted[0][:1])
    assert package.stat().st_mtime_ns == made


def blocks(page, kind):
    return re.findall(rf"```{kind}\n(.*?)```", (ROOT / page).read_text(), re.S)


@pytest.fixture
def finished(model, pictures, tmp_path, monkeypatch):
    """A folder in which the examples of the documentation find what they name."""
    folder = tmp_path / "results/models/L50_DNN1_CNN4/seed0"
    shutil.copytree(model[1], folder)
    row = {"rank": 1, "label": "L50_DNN1_CNN4", "seed": 0, "status": "ok", "collapsed": False}
    (tmp_path / "results/tables").mkdir()
    losses = dict.fromkeys(["reconstruction", "validation_reconstruction", "kld", "elbo"], 1.0)
    pd.DataFrame([row | losses]).to_csv(tmp_path / "results/tables/models.csv", index=False)
    np.save(tmp_path / "images.npy", pictures[:20])
    monkeypatch.chdir(tmp_path)
    return folder


def test_the_examples_in_python_work(finished, pictures, wanted, capsys):
    (short,) = blocks("README.md", "python")
    names = {"images": pictures[:20]}
    exec(short, names)
    np.testing.assert_allclose(names["mean"], wanted[0][:20], atol=1e-4)
    first, second = blocks("docs/how-to/encode-in-python.md", "python")
    exec(first, names)
    np.testing.assert_allclose(names["mean"], wanted[0][:20], atol=1e-4)
    np.testing.assert_allclose(np.load("latents.npy"), wanted[0][:20], atol=1e-4)
    assert names["codes"].shape == (20, 5)
    exec(second, names)
    for line in blocks("docs/how-to/encode-in-python.md", "sh")[0].splitlines():
        assert main(line.removeprefix("vae ").split()) == 0
    assert np.load("decoded.npy").shape == (20, 28, 28)
    assert "results/models/L50_DNN1_CNN4/seed0" in capsys.readouterr().out


@pytest.mark.skipif(not shutil.which("cmake"), reason="cmake is not installed")
def test_the_examples_in_cpp_work(finished, wanted):
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    subprocess.run(["bash", "-ec", blocks("docs/how-to/encode-in-cpp.md", "sh")[0]], env=environment, check=True)
    np.testing.assert_allclose(np.load("codes.npy"), wanted[0][:20], atol=1e-4)


def test_the_example_program_works(finished, wanted):
    program = ROOT / "examples/encode_with_onnxruntime.py"
    subprocess.run([sys.executable, program, finished / "encoder.onnx", "images.npy", "own.npy"], check=True)
    np.testing.assert_allclose(np.load("own.npy"), wanted[0][:20], atol=1e-4)
