"""The three ways to a trained encoder's codes agree, and what is unsound is refused in a line."""

import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, write_idx
from PIL import Image

from export import Encoder
from export.graphs import export
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


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 28, 28), np.float32), "images are uint8 from 0 to 255, as they are, not float32"),
        (np.zeros((2, 27, 28), np.uint8), "images are [N, 28, 28], not [2, 27, 28]"),
        (np.zeros(784, np.uint8), "images are [N, 28, 28], not [784]"),
    ],
)
def test_images_that_do_not_fit_are_refused(model, images, message):
    with pytest.raises(UserError) as error:
        Encoder.load(model[1], "onnx").encode(images)
    assert message in str(error.value)


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


def test_pngs_that_do_not_fit_are_named(model, pictures, tmp_path):
    write_pngs(tmp_path / "pngs", pictures[:3])
    last = tmp_path / "pngs/00002.png"
    for spoil, message in (
        (lambda: Image.fromarray(pictures[0][:20]).save(last), "00002.png: [20, 28], where 00000.png is [28, 28]"),
        (lambda: last.write_bytes(b"not a picture"), "00002.png: not a sound PNG"),
    ):
        spoil()
        with pytest.raises(UserError) as error:
            Encoder.load(model[1]).encode_file(tmp_path / "pngs", tmp_path / "z.npy", progress=False)
        assert message in str(error.value)
        assert not (tmp_path / "z.npy").exists()


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


def blocks(kind):
    section = (ROOT / "README.md").read_text().split("## Use a trained encoder")[1].split("\n## ")[0]
    return re.findall(rf"```{kind}\n(.*?)```", section, re.S)


@pytest.fixture
def finished(model, pictures, tmp_path, monkeypatch):
    """A folder in which the README's examples find what they name."""
    folder = tmp_path / "results/models/L50_DNN1_CNN4/seed0"
    shutil.copytree(model[1], folder)
    row = {"rank": 1, "label": "L50_DNN1_CNN4", "seed": 0, "status": "ok", "collapsed": False}
    (tmp_path / "results/tables").mkdir()
    losses = dict.fromkeys(["reconstruction", "validation_reconstruction", "kld", "elbo"], 1.0)
    pd.DataFrame([row | losses]).to_csv(tmp_path / "results/tables/models.csv", index=False)
    np.save(tmp_path / "images.npy", pictures[:20])
    monkeypatch.chdir(tmp_path)
    return folder


def test_the_examples_of_the_readme_work(finished, pictures, wanted, capsys):
    (python,) = blocks("python")
    names = {"images": pictures[:20]}
    exec(python, names)
    np.testing.assert_allclose(names["mean"], wanted[0][:20], atol=1e-4)
    np.testing.assert_allclose(np.load("latents.npy"), wanted[0][:20], atol=1e-4)
    assert names["codes"].shape == (20, 5)
    for line in blocks("sh")[0].splitlines():
        assert main(line.removeprefix("vae ").split()) == 0
    assert np.load("decoded.npy").shape == (20, 28, 28)
    assert "results/models/L50_DNN1_CNN4/seed0" in capsys.readouterr().out


@pytest.mark.skipif(not shutil.which("cmake"), reason="cmake is not installed")
def test_the_examples_of_the_readme_in_cpp_work(finished, wanted):
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    subprocess.run(["bash", "-ec", blocks("sh")[1]], env=environment, check=True)
    np.testing.assert_allclose(np.load("codes.npy"), wanted[0][:20], atol=1e-4)


def test_the_example_program_works(finished, wanted):
    program = ROOT / "examples/encode_with_onnxruntime.py"
    subprocess.run([sys.executable, program, finished / "encoder.onnx", "images.npy", "own.npy"], check=True)
    np.testing.assert_allclose(np.load("own.npy"), wanted[0][:20], atol=1e-4)
