"""The encoder in C++, from Python, as a program and as a library: it computes what the model does."""

import copy
import multiprocessing
import resource
import shutil
import struct
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import ROOT, write_idx
from torch import nn

from export import Encoder, graphs, native
from export.graphs import export
from vae.cli import main
from vae.errors import UserError
from vae.grid import Spec
from vae.models.networks import Networks
from vae.models.vae import as_inputs, build

pytestmark = pytest.mark.skipif(
    not (shutil.which("cmake") and shutil.which("c++")), reason="cmake or a C++ compiler is not installed"
)


@pytest.fixture(scope="module", autouse=True)
def built():
    """The build of these sources."""
    return native.build()


def exported(folder, model, images):
    folder.mkdir(parents=True, exist_ok=True)
    export(folder, model.eval(), images, {"label": "L5_CNN2_DNN1"}, check=True)
    with torch.inference_mode():
        return [part.numpy() for part in model.encoder(as_inputs(torch.from_numpy(images)))]


@pytest.fixture(scope="module")
def pictures(sample):
    return np.array(sample.train_images[:1001])


@pytest.fixture(scope="module")
def model(tmp_path_factory, pictures):
    """A model's folder, and its codes of all pictures."""
    folder = tmp_path_factory.mktemp("native")
    return folder, exported(folder, build(Spec.parse("L5_CNN2_DNN1"), (28, 28), Networks(32, 4), 0), pictures)


def near(codes, wanted):
    for part, expected in zip(codes, wanted, strict=True):
        assert part.dtype == np.float32
        assert np.abs(part - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("count", [1, 2, 7, 1000, 1001])
def test_any_number_of_images_is_encoded(model, pictures, count):
    near(Encoder.load(model[0], "native").encode(pictures[:count]), [part[:count] for part in model[1]])


@pytest.mark.parametrize("shape", [(28, 28), (3, 28, 28), (2, 9, 13), (5, 8, 8), (40, 33)])
@pytest.mark.parametrize(
    ("label", "channels"),
    [("CNN1", 3), ("CNN1", 16), ("CNN2", 20), ("CNN2", 40), ("DNN2", 1), ("LIN", 1), ("RES2", 16)],
)
def test_any_shape_and_any_number_of_channels(tmp_path, shape, label, channels):
    """Channels that fill vectors and that do not; rows longer and shorter than those that are computed at once."""
    images = np.random.default_rng(0).integers(0, 256, (130, *shape), np.uint8)
    wanted = exported(tmp_path, build(Spec.parse(f"L3_{label}_DNN1"), shape, Networks(20, channels), 0), images)
    near(Encoder.load(tmp_path, "native").encode(images), wanted)


@pytest.mark.parametrize(
    "layer", [nn.Tanh(), nn.MaxPool2d(2, ceil_mode=True), nn.Conv2d(1, 1, 5, padding=2, bias=False)]
)
def test_layers_that_the_core_does_not_know_are_computed_too(tmp_path, pictures, layer):
    built = build(Spec.parse("L3_CNN1_DNN1"), (28, 28), Networks(20, 6), 0)
    built.encoder.body.insert(0 if isinstance(layer, nn.Conv2d) else 1, layer)
    if isinstance(layer, nn.MaxPool2d):
        built.encoder.heads = nn.Linear(6 * 7 * 7, 6)
    wanted = exported(tmp_path, built, pictures)
    near(Encoder.load(tmp_path, "native").encode(pictures), wanted)


@pytest.mark.parametrize("change", [lambda mean, rest: (mean, rest.clamp(max=0)), lambda mean, rest: (rest, mean)])
def test_what_comes_after_the_heads_is_not_left_out(model, pictures, tmp_path, change):
    class Changed(graphs.Encoder):
        def forward(self, images):
            return change(*super().forward(images))

    shutil.copytree(model[0], tmp_path / "model")
    changed, images = Changed(build(Spec.parse("L5_CNN2_DNN1"), (28, 28), Networks(32, 4), 0)), torch.tensor(pictures)
    facts = {"side": "encoder", "image_shape": "28 28", "latent_size": "5"}
    script = graphs._script(changed.rearranged(images[:1]), images[:2], facts)
    (tmp_path / "model/encoder.ts").write_bytes(script)
    (tmp_path / "model/export.json").unlink()  # which knows another
    with torch.inference_mode():
        wanted = [part.numpy() for part in changed(images)]
    near(Encoder.load(tmp_path / "model", "native").encode(pictures), wanted)


def test_codes_do_not_depend_on_the_threads(model, pictures):
    for count in (100, 1001):
        single, parallel = (Encoder.load(model[0], "native", threads=n).encode(pictures[:count]) for n in (1, 4))
        for first, second in zip(single, parallel, strict=True):
            np.testing.assert_array_equal(first, second)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_threads_copies_and_processes_give_the_same_codes(model, pictures):
    encoder = Encoder.load(model[0], "native", threads=2)
    wanted = encoder.encode(pictures)[0]
    np.testing.assert_array_equal(copy.deepcopy(encoder).encode(pictures)[0], wanted)
    with ThreadPoolExecutor(4) as threads:
        for mean, _ in threads.map(encoder.encode, [pictures] * 8):
            np.testing.assert_array_equal(mean, wanted)
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as processes:
        for mean, _ in processes.map(encoder.encode, [pictures] * 3):
            np.testing.assert_array_equal(mean, wanted)


def test_torch_has_its_threads_back(model, pictures):
    before = torch.get_num_threads()
    Encoder.load(model[0], "native", threads=3).encode(pictures)
    assert torch.get_num_threads() == before


def test_it_has_to_be_built(model, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError, match="run `vae native build`"):
        Encoder.load(model[0], "native")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="cmake is not installed"):
        native.build()


def run(*arguments, **options):
    command = [native.program(), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


def idx(path, images):
    write_idx(path, images)
    return path


def npy(path, images):
    np.save(path.with_suffix(".npy"), images)
    return path.with_suffix(".npy")


@pytest.mark.parametrize("write", [idx, npy])
@pytest.mark.parametrize("options", [[], ["--threads", 1], ["--threads", 3, "--batch", 10]])
def test_the_program_writes_codes(model, pictures, tmp_path, write, options):
    source = write(tmp_path / "images", pictures)
    out, log_variances = tmp_path / "z.npy", tmp_path / "v.npy"
    done = run(model[0] / "encoder.ts", source, out, "--log-variance", log_variances, *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("1001 images in ")
    near([np.load(out), np.load(log_variances)], model[1])
    assert {path.name for path in tmp_path.iterdir()} == {source.name, "z.npy", "v.npy"}


def test_more_images_than_a_chunk_keep_their_order(model, pictures, tmp_path):
    many = np.tile(pictures, (40, 1, 1))
    source = npy(tmp_path / "images", many)
    assert run(model[0] / "encoder.ts", source, tmp_path / "z.npy").returncode == 0
    near([np.load(tmp_path / "z.npy")], [np.tile(model[1][0], (40, 1))])


def header(shape, rest=", }\n"):
    """An .npy of 78,400 bytes that says it has this shape."""
    facts = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}{rest}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(facts)) + facts + bytes(78400)


DAMAGE = {
    "missing.npy": (None, "no such file"),
    "packed.idx.gz": (lambda raw: b"\x1f\x8b" + raw, "unpack it first"),
    "noise": (lambda raw: b"not images at all", "not an IDX file"),
    "header": (lambda raw: raw[:7], "truncated in its header"),
    "short": (lambda raw: raw[:-1], "take 78400 bytes, 78399 are there"),
    "long": (lambda raw: raw + b"x", "take 78400 bytes, 78401 are there"),
    "huge": (lambda raw: raw[:4] + struct.pack(">3I", *[2**32 - 1] * 3), "bytes, 0 are there"),
    "empty": (lambda raw: raw[:4] + struct.pack(">3I", 0, 28, 28), "is empty"),
    "other": (lambda raw: raw[:4] + struct.pack(">3I", 100, 14, 56) + raw[16:], "are [N, 28, 28], not [100, 14, 56]"),
    "single.npy": (lambda raw: header("(28, 28)")[:-77616], "not [28, 28]; give a single image an axis of 1 in front"),
    "negative.npy": (lambda raw: header("(100, 28, -28)"), "not a sound .npy"),
    "much.npy": (lambda raw: header("(100, 28, 99999999999999999999)"), "not a sound .npy"),
    "open.npy": (lambda raw: header("(100, 28, 28"), "not a sound .npy"),
    "number.npy": (lambda raw: header("(100, 28", ""), "not a sound .npy"),
    "comma.npy": (lambda raw: header("(100, 28,", ""), "not a sound .npy"),
    "cut.npy": (lambda raw: header("(100, 28, 28)")[:60], "not a sound .npy"),
    "noise.npy": (lambda raw: b"not an array", "not a sound .npy"),
    "none.npy": (lambda raw: b"", "not a sound .npy"),
}


def refused(done, folder, names, *parts, code=2):
    assert done.returncode == code
    (line,) = done.stderr.splitlines()
    assert line.startswith("latent-encode: ERROR: ")
    for part in parts:
        assert str(part) in line
    assert {path.name for path in folder.iterdir()} == names


@pytest.mark.parametrize("name", DAMAGE)
def test_an_unsound_file_is_named_and_nothing_is_written(model, pictures, tmp_path, name):
    spoil, message = DAMAGE[name]
    path = tmp_path / name
    if spoil:
        raw = idx(path, pictures[:100]).read_bytes()
        path.write_bytes(spoil(raw))
    done = run(model[0] / "encoder.ts", path, tmp_path / "z.npy")
    refused(done, tmp_path, {name} if spoil else set(), message, path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 28, 28), np.float32), "images are uint8 [N, ...] from 0 to 255, as they are, not '<f4'"),
        (np.zeros((3, 28, 28), bool), "images are uint8 [N, ...] from 0 to 255, as they are, not '|b1'"),
        (np.zeros((3, 28, 28), ">u2"), "images are uint8 [N, ...] from 0 to 255, as they are, not '>u2'"),
        (np.zeros((28, 28, 3), np.uint8).T, "images are in Fortran order; save np.ascontiguousarray(images)"),
        (np.zeros((3, 28, 28, 3), np.uint8), "images are [N, 28, 28], not [3, 28, 28, 3]"),
        (np.zeros(3, np.uint8), "images are uint8 [N, ...], not [3]"),
        (np.array([{}, {}]), "images are uint8 [N, ...] from 0 to 255, as they are, not '|O'"),
    ],
)
def test_arrays_that_are_no_images_are_refused(model, tmp_path, array, message):
    np.save(tmp_path / "x.npy", array)
    done = run(model[0] / "encoder.ts", tmp_path / "x.npy", tmp_path / "z.npy")
    refused(done, tmp_path, {"x.npy"}, f"x.npy: {message}")


@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28)])
@pytest.mark.parametrize("given", [(28, 28), (1, 28, 28), (28, 28, 1), (784,)])
@pytest.mark.parametrize("write", [idx, npy])
def test_one_channel_may_have_an_axis_or_none(pictures, tmp_path, shape, given, write):
    images = pictures[:20].reshape(-1, *shape)
    wanted = exported(tmp_path / "model", build(Spec.parse("L3_CNN1_DNN1"), shape, Networks(8, 2), 0), images)
    source, out = write(tmp_path / "x", images.reshape(-1, *given)), tmp_path / "z.npy"
    assert run(tmp_path / "model/encoder.ts", source, out).returncode == 0
    near([np.load(out)], wanted[:1])
    near(Encoder.load(tmp_path / "model", "native").encode(images.reshape(-1, *given)), wanted)
    library = torch.classes.vae.Encoder(str(tmp_path / "model/encoder.ts"), "cpu")
    near([part.numpy() for part in library.encode(torch.from_numpy(images.reshape(-1, *given)), 1)], wanted)


def test_channels_that_come_last_and_folders_are_named(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 8, 8), np.uint8)
    exported(tmp_path / "model", build(Spec.parse("L3_DNN1_DNN1"), (3, 8, 8), Networks(8, 2), 0), images)
    source, names = npy(tmp_path / "x", np.zeros((2, 8, 8, 3), np.uint8)), {"model", "x.npy"}
    done = run(tmp_path / "model/encoder.ts", source, tmp_path / "z.npy")
    refused(done, tmp_path, names, "not [2, 8, 8, 3]; they look channel-last, give [N, C, H, W]")
    done = run(tmp_path / "model/encoder.ts", tmp_path / "model", tmp_path / "z.npy")
    refused(done, tmp_path, names, "model: a folder, which `vae encode` reads")


def test_images_of_zero_and_one_and_codes_that_are_not_finite_are_warned_of(model, pictures, tmp_path):
    out = tmp_path / "z.npy"
    done = run(model[0] / "encoder.ts", npy(tmp_path / "x", (pictures[:3] > 127).astype(np.uint8)), out)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, np.load(out).shape) == (0, (3, 5))
    assert "x.npy: the brightest pixel is 1, where white is 255" in line
    diverged = build(Spec.parse("L3_DNN1_DNN1"), (28, 28), Networks(8, 2), 0)
    torch.nn.init.constant_(diverged.encoder.heads.bias, float("nan"))
    export(tmp_path, diverged.eval(), pictures[:3], {}, check=False)
    done = run(tmp_path / "encoder.ts", npy(tmp_path / "x", pictures[:3]), out, "--overwrite")
    (line,) = done.stderr.splitlines()
    assert (done.returncode, np.isnan(np.load(out)).all()) == (0, True)
    assert "codes of 3 of 3 images are not finite; the model may have diverged" in line


def test_what_is_no_encoder_is_refused(model, tmp_path, pictures):
    source = npy(tmp_path / "x", pictures[:3])
    (tmp_path / "noise.ts").write_bytes(b"no archive")
    whole = (model[0] / "encoder.ts").read_bytes()
    (tmp_path / "cut.ts").write_bytes(whole[: len(whole) // 2])
    names = {"x.npy", "noise.ts", "cut.ts"}
    for script, message in (
        (tmp_path / "none.ts", "no such file"),
        (tmp_path / "noise.ts", "not a TorchScript file, or damaged"),
        (tmp_path / "cut.ts", "not a TorchScript file, or damaged"),
        (model[0] / "decoder.ts", "not an encoder of this package"),
    ):
        refused(run(script, source, tmp_path / "z.npy"), tmp_path, names, script, message)


def test_what_cannot_be_asked_for_is_refused(model, tmp_path, pictures):
    source = npy(tmp_path / "x", pictures[:3])
    given, out = [model[0] / "encoder.ts", source], tmp_path / "z.npy"
    names = {"x.npy"}
    refused(run(*given), tmp_path, names, "are expected; see --help")
    refused(run(*given, out, "--fast"), tmp_path, names, "--fast: no such option")
    refused(run(*given, out, "--threads"), tmp_path, names, "--threads: a value is missing")
    refused(run(*given, out, "--batch", "0"), tmp_path, names, "--batch: a number from 1 on, not 0")
    refused(run(*given, out, "--batch", "7x"), tmp_path, names, "--batch: a number from 1 on, not 7x")
    refused(run(*given, out, "--device", "tpu"), tmp_path, names, "device tpu is not known; known are cpu, cuda")
    for same in (out, f"{tmp_path}/./z.npy"):
        refused(run(*given, out, "--log-variance", same), tmp_path, names, "need a file each")
    refused(run(*given, tmp_path / "z.bin"), tmp_path, names, "codes are written as .npy")
    refused(run(*given, tmp_path / "none/z.npy"), tmp_path, names, "none/z.npy", code=1)
    if not torch.cuda.is_available():
        refused(run(*given, out, "--device", "cuda"), tmp_path, names, "torch sees no GPU here")
    assert "--log-variance" in run("--help").stdout


def test_a_file_that_exists_is_kept_unless_it_may_be_overwritten(model, tmp_path, pictures):
    given = [model[0] / "encoder.ts", npy(tmp_path / "x", pictures[:3]), tmp_path / "z.npy"]
    given[2].write_text("mine")
    refused(run(*given), tmp_path, {"x.npy", "z.npy"}, "z.npy: exists")
    assert given[2].read_text() == "mine"
    assert run(*given, "--overwrite").returncode == 0
    assert np.load(given[2]).shape == (3, 5)


def test_a_full_disk_is_a_line_and_leaves_nothing(model, tmp_path, pictures):
    """As a limit of what a process may write, which the system refuses in the same place."""
    source = npy(tmp_path / "x", np.tile(pictures, (20, 1, 1)))

    def little():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    # Python ignores the signal that comes with the refusal, and who inherits from it does too.
    done = run(model[0] / "encoder.ts", source, tmp_path / "z.npy", preexec_fn=little, restore_signals=False)
    refused(done, tmp_path, {"x.npy"}, tmp_path / "z.npy", "File too large", code=1)


@pytest.mark.gpu
@pytest.mark.parametrize("batch", [7, 100, 0])
def test_a_gpu_computes_the_same(model, pictures, tmp_path, batch):
    source = npy(tmp_path / "x", pictures)
    options = ["--batch", batch] if batch else []
    done = run(model[0] / "encoder.ts", source, tmp_path / "z.npy", "--device", "cuda", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert np.abs(np.load(tmp_path / "z.npy") - model[1][0]).max() <= 1e-5 * np.abs(model[1][0]).max()


def test_the_command_builds_once_and_copies(tmp_path, capsys):
    assert main(["native", "build", "--copy-to", str(tmp_path / "native")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "native/bin/latent-encode")
    help_text = subprocess.run([tmp_path / "native/bin/latent-encode", "--help"], capture_output=True, text=True)
    assert help_text.stdout.startswith("latent-encode MODEL.ts")
    assert main(["native", "build", "--copy-to", str(tmp_path / "native")]) == 2


def test_the_example_program_calls_the_library(model, pictures, tmp_path):
    """Built with the lines at its head."""
    program = ROOT / "examples/encode_with_cpp.cpp"
    lines = [line.removeprefix("//").strip() for line in program.read_text().split("#include")[0].splitlines()[2:]]
    shutil.copy(program, tmp_path)
    shutil.copy(model[0] / "encoder.ts", tmp_path)
    np.save(tmp_path / "images.npy", pictures[:10])
    script = "\n".join(["set -e", f"export PYTHONPATH={ROOT}", *lines]).replace("python ", f"{sys.executable} ")
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "L5_CNN2_DNN1: mean" in done.stdout
    assert "[ CPUFloatType{3,5} ]" in done.stdout
