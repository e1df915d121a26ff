"""Runtimes of encoders: each takes images `uint8 [N, ...]` to mean and log-variance, `float32 [N, latent]`."""

import ctypes
import importlib.util
import io
import platform
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from export import native
from export.runtime import compute, content, open_session, sizes
from vae.errors import UserError
from vae.files import cache, check_writable, read_json, replacing, sha256

if TYPE_CHECKING:
    from torch import Tensor

# Images computed at once: on a CPU thread few enough that its cache holds the activations, as measured; on a GPU enough
# to fill it.
ONNX_BATCH, TORCH_BATCH, GPU_BATCH = 256, 128, 16384
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Runtime(ABC):
    """A runtime that is called with a batch at a time; each call computes on the thread that it is made on."""

    batch: int

    @abstractmethod
    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and log-variance of one batch."""

    def session(self) -> AbstractContextManager[None]:
        """The context that all batches are computed in."""
        return nullcontext()

    def encode(self, images: np.ndarray, latent_size: int, threads: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and log-variance; batches go to `threads` CPU threads, or one after the other to a GPU."""
        starts = iter(range(0, len(images), self.batch))  # shared: a thread that is free takes the next
        mean, log_variance = (np.empty((len(images), latent_size), np.float32) for _ in range(2))

        def work() -> None:
            for start in starts:
                part = slice(start, start + self.batch)
                mean[part], log_variance[part] = self(images[part])

        with self.session():
            if threads == 1 or len(images) <= self.batch or self.batch == GPU_BATCH:
                work()
            else:
                with ThreadPoolExecutor(threads) as pool:
                    for done in [pool.submit(work) for _ in range(threads)]:
                        done.result()
        return mean, log_variance


class Onnx(Runtime):
    """onnxruntime; the graph says of itself which model it is."""

    def __init__(self, graph: Path, device: str):
        there = onnxruntime.get_available_providers()
        on_gpu = device == "cuda" or (device == "auto" and PROVIDERS["cuda"] in there)
        provider = PROVIDERS["cuda" if on_gpu else "cpu"]
        if provider not in there:
            raise UserError(f"device {device}: this onnxruntime has no {provider}; install onnxruntime-gpu")
        self._session = open_session(graph, 1, provider)
        if provider not in self._session.get_providers():  # a build for GPUs falls back to the CPU by itself
            if device == "cuda":
                raise UserError("device cuda: onnxruntime finds no GPU here, or not the CUDA libraries that it needs")
            on_gpu = False
        self.batch = GPU_BATCH if on_gpu else ONNX_BATCH
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        types, names = [side.type for side in inputs], [side.name for side in outputs]
        if types != ["tensor(uint8)"] or names != ["mean", "log_variance"] or len(sizes(outputs[0])) != 1:
            raise UserError(
                f"{graph}: not an encoder of this package: it has to take uint8 images to mean and log_variance"
            )
        self.image_shape, (self.latent_size,) = sizes(inputs[0]), sizes(outputs[0])
        self.metadata = self._session.get_modelmeta().custom_metadata_map
        self.label = self.metadata.get("label", graph.stem)

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, log_variance = compute(self._session, images)
        return mean, log_variance


class _OneThread:
    """torch computes on the calling thread alone within; whoever leaves sets the process's number back.

    The number is one of the process for threads that begin, and one of each thread that has begun.
    """

    def __init__(self) -> None:
        self._lock, self._within, self._before = Lock(), 0, 1

    @contextmanager
    def __call__(self, torch: Any) -> Iterator[None]:
        with self._lock:
            if not self._within:
                self._before = torch.get_num_threads()
            self._within += 1
            torch.set_num_threads(1)
        try:
            yield
        finally:
            with self._lock:
                self._within -= 1
                torch.set_num_threads(self._before)


_one_thread = _OneThread()


class _Torch(Runtime):
    """A runtime of torch: its threads are those of the caller, each with one of its own."""

    def __init__(self, folder: Path, device: str):
        if not has_torch():
            raise UserError("torch is not installed: use the runtime onnx")
        import torch

        self._torch = torch
        if device == "cuda" and not torch.cuda.is_available():
            raise UserError("device cuda: torch sees no GPU here")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        self.batch = TORCH_BATCH if device == "cpu" else GPU_BATCH
        self._module = self._load(folder)
        _keep_memory()

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        torch = self._torch
        torch.set_num_threads(1)  # this thread may have begun before the session did
        with torch.inference_mode():
            mean, log_variance = self._module(self._tensor(images).to(self.device))
            return mean.cpu().numpy(), log_variance.cpu().numpy()

    @abstractmethod
    def _load(self, folder: Path) -> Any:
        """The object that torch loads, called with images; only `Native` has an object of C++ to call otherwise."""

    def _tensor(self, images: np.ndarray) -> "Tensor":
        # torch warns of arrays that may only be read, such as a mapped file.
        return self._torch.from_numpy(images if images.flags.writeable else images.copy())

    def session(self) -> AbstractContextManager[None]:
        return _one_thread(self._torch)


class TorchScript(_Torch):
    """`encoder.ts`, frozen after loading; the file holds its weights in the order of memory that is the fastest."""

    def _load(self, folder: Path) -> Any:
        import warnings

        torch, file = self._torch, _there(folder / "encoder.ts")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated, and still working
            try:
                module = torch.jit.load(io.BytesIO(content(file)), map_location=self.device).eval()
            except RuntimeError as error:
                raise UserError(f"{file}: not a TorchScript encoder ({str(error).splitlines()[0]})") from None
            return torch.jit.freeze(module)


class Native(_Torch):
    """`encoder.ts` in the C++ core, which makes batches and threads of its own."""

    def _load(self, folder: Path) -> Any:
        built = native.library()
        if not built:
            raise UserError("the C++ encoder is not built here: run `vae native build`")
        file = _there(folder / "encoder.ts")
        content(file)  # checked here, because the library takes a path
        try:
            # A process has one: a second build of the same names would end it.
            if not any(built.name in path for path in self._torch.classes.loaded_libraries):
                self._torch.classes.load_library(str(built))
            return self._torch.classes.vae.Encoder(str(file), self.device.type)
        except (OSError, RuntimeError) as error:
            raise UserError(str(error).splitlines()[0]) from None

    def encode(self, images: np.ndarray, latent_size: int, threads: int) -> tuple[np.ndarray, np.ndarray]:
        with self.session():
            mean, log_variance = self._module.encode(self._tensor(images), threads)
        return mean.numpy(), log_variance.numpy()


class Aot(_Torch):
    """The trained model compiled for this machine by AOTInductor, once; kept in the user's cache.

    torch lets one thread at a time call it.
    """

    @contextmanager
    def session(self) -> Iterator[None]:
        from vae.models.convolution import exact_convolutions

        with super().session(), exact_convolutions() if self.device.type == "cuda" else nullcontext():
            yield

    def _load(self, folder: Path) -> Any:
        torch = self._torch
        from export import graphs
        from vae.training import checkpoint

        files = [_there(folder / name) for name in ("weights.safetensors", "provenance.json")]
        made_from = b"".join(path.read_bytes() for path in (*files, Path(graphs.__file__)))
        # The compiled code is for this machine's processor; a home may be shared with others.
        name = f"{sha256(made_from)[:32]}-{self.device.type}-{platform.node()}-{torch.__version__}.pt2"
        package = cache() / name
        if not package.exists():
            check_writable(package.parent)
            model = graphs.Encoder(checkpoint.load(folder)).to(self.device).eval()
            shape = read_json(folder / "provenance.json")["image_shape"]
            images = torch.zeros(8, *shape, dtype=torch.uint8, device=self.device)
            program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
            with replacing(package) as partial:
                try:
                    torch._inductor.aoti_compile_and_package(program, package_path=str(partial))
                except Exception as error:  # of the compiler, or that there is none
                    reason = str(error).strip().splitlines()[0]
                    raise UserError(f"{folder}: cannot be compiled here ({reason}); use the runtime onnx") from None
        return torch._inductor.aoti_load_package(str(package))


def has_torch() -> bool:
    """Whether torch is installed; it is not imported."""
    return importlib.util.find_spec("torch") is not None


def _keep_memory() -> None:
    """Keep the C library from giving activations back to the kernel at every batch, where it is glibc."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            mallopt = ctypes.CDLL(None).mallopt
            for option, value in ((-4, 0), (-1, 2**30), (-2, 2**26)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
                mallopt(option, value)


def _there(file: Path) -> Path:
    if not file.exists():
        raise UserError(f"{file}: no such file; this runtime needs the whole folder of a model")
    return file


def _int8(folder: Path, device: str) -> Onnx:
    """The encoder in 8-bit integers, which a study makes on demand: it may be missing, or of another training."""
    file, facts = folder / "encoder.int8.onnx", folder / "encoder.int8.json"
    advice = "`snakemake --cores all int8` makes it for every model of a study"
    if not file.exists():
        raise UserError(f"{file}: no such file; {advice}")
    made_from = read_json(facts).get("made_from") if facts.is_file() else None
    if made_from and made_from != sha256((folder / "encoder.onnx").read_bytes()):
        raise UserError(f"{file}: made from another encoder.onnx than the one beside it; {advice}")
    return Onnx(file, device)


# Those that start from a model's folder; ONNX starts from the graph alone.
OF_FOLDER: dict[str, Callable[[Path, str], Runtime]] = {
    "torchscript": TorchScript,
    "native": Native,
    "aot": Aot,
    "int8": _int8,
}
