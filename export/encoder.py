"""A trained encoder without the workflow: images in, codes out, in bounded memory and at the speed of the machine.

    from export import Encoder

    encoder = Encoder.load("results/models/L50_DNN1_CNN4/seed0")
    mean, log_variance = encoder.encode(images)

With onnxruntime it needs NumPy and nothing else; torch is imported where a runtime of torch is asked for.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, overload

import numpy as np

from export import native, runtimes
from export.images import fitting, open_images
from export.runtime import warn_of
from vae.errors import UserError
from vae.files import replacing, write_json

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

# Images that are read and written at once from and to files: bounds the memory.
CHUNK = 16384
# Images that the fastest runtime is chosen on.
SOME = 4096
# torch takes seconds to start: it is only tried where there are so many images that a faster runtime makes up for it.
WORTH_TORCH = 500_000
RUNTIMES = ("auto", "onnx", *runtimes.OF_FOLDER)
DEVICES = ("auto", *runtimes.PROVIDERS)

Array = TypeVar("Array", np.ndarray, "Tensor")


class Encoder:
    """A trained encoder, which maps images to mean and log-variance of q(z|x) (Kingma & Welling 2014).

    Made by `Encoder.load`. Threads may share it. A copy, a pickle and a forked process open the model's files anew.

    Attributes
    ----------
    image_shape : tuple of int
        `(H, W)` or `(C, H, W)`.
    latent_size : int
        Dimensions of a code.
    label : str
        The label of the model, such as `L50_DNN1_CNN4`.
    runtime : str
        The runtime in use; `auto` until the first images are encoded.
    """

    def __init__(self, folder: Path, graph: Path, runtime: str, device: str, threads: int):
        # Files are opened when they are needed, wherever the process works then.
        self.folder, self.graph = folder.absolute(), graph.absolute()
        self.runtime, self.device, self.threads = runtime, device, threads
        # By process: a session does not survive a fork.
        self._runs: dict[tuple[int, str], runtimes.Runtime] = {}
        self._choice = Lock()
        try:
            onnx = runtimes.Onnx(graph, device)
            self._runs[os.getpid(), "onnx"] = onnx
        except UserError:
            # torch may have a GPU that this onnxruntime has not: what the graph says of itself is then read on the CPU.
            if device != "cuda" or runtime == "onnx":
                raise
            onnx = runtimes.Onnx(graph, "cpu")
        self._has_onnx = bool(self._runs)
        self.image_shape, self.latent_size, self.label = onnx.image_shape, onnx.latent_size, onnx.label
        self.metadata = onnx.metadata
        if runtime != "auto":
            self._runtime(runtime)

    def __reduce__(self) -> tuple:
        """The state of a copy or a pickle: the place of the model, and no session."""
        return type(self), (self.folder, self.graph, self.runtime, self.device, self.threads)

    @classmethod
    def load(
        cls, path: str | Path, runtime: str = "auto", device: str = "auto", threads: int | None = None
    ) -> "Encoder":
        """Open the encoder of a model.

        Logs a warning if the model diverged or collapsed.

        Parameters
        ----------
        path : str or Path
            The folder of a model, or its `encoder.onnx`.
        runtime : str
            `onnx`, `torchscript`, `native` (the C++ core, once `vae native build` has built it), `aot` (AOTInductor,
            which compiles for this machine, once), `int8` (quantised, less exact), or `auto`: `onnx`, or the fastest of
            the first three by measurement, if torch is loaded already or there are enough images to load it for.
        device : str
            `cpu`, `cuda`, or `auto`, a GPU if there is one.
        threads : int, optional
            CPU threads, all if not given. The codes do not depend on it.

        Returns
        -------
        Encoder

        Raises
        ------
        UserError
            If there is no such model, or the runtime or the device is not available.

        Examples
        --------
        >>> from export import Encoder
        >>> encoder = Encoder.load("my_model")
        >>> encoder.image_shape, encoder.latent_size
        ((8, 8), 2)
        """
        for given, names, what in ((runtime, RUNTIMES, "runtime"), (device, DEVICES, "device")):
            if given not in names:
                raise UserError(f"{what} {given!r} is not known; known are {', '.join(names)}")
        path = Path(path)
        folder, graph = (path, path / "encoder.onnx") if path.is_dir() else (path.parent, path)
        if not graph.exists():
            raise UserError(f"{graph}: no such file; give a model's folder, or an encoder.onnx")
        encoder = cls(folder, graph, runtime, device, threads or os.cpu_count() or 1)
        warn_of(encoder.label, encoder.metadata)
        return encoder

    @overload
    def encode(self, images: Array, sample: None = None) -> tuple[Array, Array]: ...

    @overload
    def encode(self, images: Array, sample: int) -> Array: ...

    def encode(self, images: Any, sample: int | None = None) -> Any:
        """Encode images.

        Logs a warning if the brightest pixel of all is 1, or if codes are not finite.

        Parameters
        ----------
        images : array, tensor or list
            `uint8 [N, H, W]`, `[N, C, H, W]` or flat, from 0 to 255; or a list of arrays or of Pillow's images.
        sample : int, optional
            A seed. If given, codes are sampled from q(z|x).

        Returns
        -------
        mean, log_variance : float32 [N, latent_size]
            Of q(z|x); tensors on the CPU for tensors, NumPy arrays for all else. With `sample`, one array of codes.

        Raises
        ------
        UserError
            For images of another type or shape.

        Examples
        --------
        >>> mean, log_variance = Encoder.load("my_model").encode(images)
        >>> mean.shape, mean.dtype
        ((200, 2), dtype('float32'))
        """
        alike = sys.modules["torch"].from_numpy if hasattr(images, "detach") else np.asarray
        ready, doubts = fitting(images, self.image_shape), _Doubts(self.label)
        mean, log_variance = self._encode(ready)
        doubts.note(ready, mean, log_variance)
        doubts.warn()
        if sample is not None:
            return alike(_draw(mean, log_variance, np.random.default_rng(sample)))
        return alike(mean), alike(log_variance)

    def encode_file(
        self,
        source: str | Path,
        target: str | Path,
        log_variance: str | Path | None = None,
        sample: int | None = None,
        overwrite: bool = False,
        progress: bool = True,
    ) -> None:
        """Encode the images of a file or a folder in bounded memory.

        Files appear whole or not at all. Logs the warnings of `encode`.

        Parameters
        ----------
        source : str or Path
            IDX (plain or `.gz`), `.npy`, a PNG, or a folder of PNGs.
        target : str or Path
            The `.npy` to write, means `float32 [N, latent_size]`. For pictures, `{"files": [...]}` with their names in
            the order of the rows is written beside it: for `codes.npy`, to `codes.files.json`.
        log_variance : str or Path, optional
            A `.npy` to write the log-variances to.
        sample : int, optional
            A seed. If given, codes that are sampled from q(z|x) are written in place of the means.
        overwrite : bool
            Overwrite files that exist.
        progress : bool
            Show a progress bar on a terminal, if tqdm is installed.

        Raises
        ------
        UserError
            For a source that cannot be read, images that do not fit, or a target that exists.

        Examples
        --------
        >>> np.save("images.npy", images)
        >>> Encoder.load("my_model").encode_file("images.npy", "codes.npy", overwrite=True)
        >>> np.load("codes.npy").shape
        (200, 2)
        """
        targets = [Path(path) for path in (target, log_variance) if path]
        names = targets[0].with_suffix(".files.json")
        if len({path.resolve() for path in targets}) < len(targets):
            raise UserError(f"{target}: codes and log-variances need a file each")
        for path in targets:
            if path.suffix != ".npy":
                raise UserError(f"{path}: codes are written as .npy")
        for path in (*targets, names):
            if path.exists() and not overwrite:
                raise UserError(f"{path}: already exists; choose another name, or pass --overwrite")
        images = open_images(source, self.image_shape)
        rng = None if sample is None else np.random.default_rng(sample)
        shape, doubts = (images.count, self.latent_size), _Doubts(f"{source}, {self.label}")
        with _files(targets, shape) as streams, _progress(images.count, progress) as advance:
            for chunk in _ahead(images.chunks(CHUNK)):
                ready = fitting(chunk, self.image_shape)
                codes, log_variances = self._encode(ready, images.count)
                doubts.note(ready, codes, log_variances)
                if rng:
                    codes = _draw(codes, log_variances, rng)
                for stream, part in zip(streams, (codes, log_variances)):
                    stream.write(np.ascontiguousarray(part).data)
                advance(len(chunk))
            if images.files:
                write_json(names, {"files": images.files})
            else:
                names.unlink(missing_ok=True)  # of the codes that these replace
        doubts.warn()

    def _encode(self, images: np.ndarray, total: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Codes of checked images, by the runtime in use; where it is `auto`, the fastest on some of them."""
        if not len(images):
            return np.empty((0, self.latent_size), np.float32), np.empty((0, self.latent_size), np.float32)
        if self.runtime == "auto":
            with self._choice:
                if self.runtime == "auto":  # another thread may have chosen
                    self.runtime = self._fastest(images, total or len(images))
                    log.info("%s: encoding with %s", self.folder, self.runtime)
        return self._runtime(self.runtime).encode(images, self.latent_size, self.threads)

    def _runtime(self, name: str) -> runtimes.Runtime:
        key = os.getpid(), name
        if key not in self._runs:
            opening, place = (runtimes.Onnx, self.graph) if name == "onnx" else (runtimes.OF_FOLDER[name], self.folder)
            self._runs[key] = opening(place, self.device)
        return self._runs[key]

    def _fastest(self, images: np.ndarray, total: int) -> str:
        torch_is_there = "torch" in sys.modules or (total >= WORTH_TORCH and runtimes.has_torch())
        if self._has_onnx and (not torch_is_there or len(images) < SOME // 8):
            return "onnx"
        some = images[:SOME]
        runs: dict[str, runtimes.Runtime] = {}
        for name in [*(["onnx"] if self._has_onnx else []), "torchscript", *(["native"] if native.library() else [])]:
            try:
                runs[name] = self._runtime(name)
            except UserError as error:
                log.warning("%s is not available: %s", name, error)
        if not runs:
            raise UserError(
                f"device {self.device}: no runtime here computes on it; install onnxruntime-gpu or a torch that sees it"
            )
        seconds = dict.fromkeys(runs, np.inf)
        for _ in range(4):  # in turns, and more than once: first calls set libraries up, and machines do other work
            for name, run in runs.items():
                begun = perf_counter()
                run.encode(some, self.latent_size, self.threads)
                seconds[name] = min(seconds[name], perf_counter() - begun)
        return min(seconds, key=lambda name: seconds[name])


class _Doubts:
    """Warnings about images and their codes, each in a line once all are encoded."""

    def __init__(self, what: str):
        self._what, self._count, self._brightest, self._not_finite = what, 0, 0, 0

    def note(self, images: np.ndarray, *codes: np.ndarray) -> None:
        """Take these into account; where nothing is odd, in little of the time that they took to encode."""
        self._count += len(images)
        for part in (images[:100], images):
            if self._brightest <= 1:
                self._brightest = max(self._brightest, int(part.max(initial=0)))
        finite = [np.isfinite(part) for part in codes]
        if not all(part.all() for part in finite):
            self._not_finite += int((~np.logical_and.reduce(finite).all(1)).sum())

    def warn(self) -> None:
        if self._brightest == 1:
            log.warning("%s: the brightest pixel is 1, where white is 255; multiply images of 0 and 1", self._what)
        if self._not_finite:
            counts = self._not_finite, self._count
            log.warning("%s: codes of %d of %d images are not finite; the model may have diverged", self._what, *counts)


def _draw(mean: np.ndarray, log_variance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return mean + np.exp(log_variance / 2) * rng.standard_normal(mean.shape, np.float32)


@contextmanager
def _files(targets: list[Path], shape: tuple[int, int]) -> Iterator[Sequence[BinaryIO]]:
    """Files of arrays to append to, which take the place of the targets when all went well.

    They are written, not mapped: on a full disk a write raises an error, and a mapped page ends the process.
    """
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False, "shape": shape}
    with ExitStack() as stack:
        streams = [stack.enter_context(open(stack.enter_context(replacing(path)), "wb")) for path in targets]
        for stream in streams:
            np.lib.format.write_array_header_1_0(stream, header)
        yield streams


def _ahead(chunks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same chunks, each read while the one before is worked on."""
    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(next, chunks, None)
        while (chunk := waiting.result()) is not None:
            waiting = reader.submit(next, chunks, None)
            yield chunk


@contextmanager
def _progress(count: int, shown: bool) -> Iterator[Callable[[int], object]]:
    """A bar of `count` images, as a function to tell of images that are done; none where tqdm is not installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda done: None
        return
    with tqdm(total=count, unit=" images", disable=None if shown else True) as bar:
        yield bar.update
