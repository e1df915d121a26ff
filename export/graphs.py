"""Trained models as TorchScript and ONNX graphs, each checked against the model it was made from.

An encoder takes raw images, `uint8 [batch, H, W]` or `[batch, C, H, W]`, to the mean and log-variance of q(z|x), each
`float32 [batch, latent]`. A decoder takes codes, `float32 [batch, latent]`, to probabilities (the mean of p(x|z)),
`float32 [batch, H, W]` or `[batch, C, H, W]`.
"""

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from export import layout
from export.runtime import open_session
from vae import __version__, provenance
from vae.errors import UserError
from vae.files import read_json, sha256, write_bytes
from vae.grid import parse_folder
from vae.models.convolution import exact_convolutions
from vae.models.vae import VAE, as_inputs, as_planes
from vae.provenance import Origin
from vae.seeds import of_study
from vae.training import checkpoint
from vae.training.loop import Trained
from vae.training.objective import kld

log = logging.getLogger(__name__)

BATCH_SIZES = (1, 2, 7, 1000)
TOLERANCE = 1e-4
OPSET = 18
ORIGIN = Origin("export")


class Graph(nn.Module):
    """A module with the names of its inputs and outputs, and what the two mean, where a reader is told."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    meaning: tuple[str, ...] = ()


class Encoder(Graph):
    """Raw images to the mean and log-variance of their codes."""

    inputs, outputs = ("images",), ("mean", "log_variance")
    meaning = (
        "images: grey levels or colours from 0 to 255 as they are, batch first",
        "mean and log_variance of the Gaussian q(z|x) of each image's code, batch first",
    )

    def __init__(self, model: VAE):
        super().__init__()
        self.encoder, self.folded = deepcopy(model.encoder), False
        if first := _first_layer(self.encoder.body):
            with torch.no_grad():
                first.weight /= 255
            self.folded = True

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        # A layer whose weights are divided by 255 takes grey levels as they are, and spares a pass over all pixels.
        return self.encoder(as_planes(images).float() if self.folded else as_inputs(images))

    def rearranged(self, images: Tensor) -> "Encoder":
        """A copy that computes the same, in the order of memory that is fastest for torch; `images` are any."""
        copy = deepcopy(self)
        layout.rearrange(copy.encoder, as_inputs(images))
        return copy


def _first_layer(body: nn.Module) -> nn.Linear | nn.Conv2d | None:
    """The layer that images come to first, if it is linear and nothing is between."""
    layers = body if isinstance(body, nn.Sequential) else ()
    first = next((layer for layer in layers if not isinstance(layer, nn.Flatten)), None)
    return first if type(first) is nn.Linear or type(first) is nn.Conv2d else None


class Decoder(Graph):
    """Codes to the probabilities of their images."""

    inputs, outputs = ("codes",), ("probabilities",)
    meaning = (
        "codes: draws from the standard normal prior, or from an encoder's q(z|x), batch first",
        "probabilities: the mean of p(x|z), grey levels or colours from 0 to 1, batch first",
    )

    def __init__(self, model: VAE, image_shape: tuple[int, ...]):
        super().__init__()
        self.decoder = model.decoder
        self.image_shape = image_shape

    def forward(self, codes: Tensor) -> Tensor:
        return self.decoder(codes).sigmoid().reshape(-1, *self.image_shape)


class Features(Graph):
    """Raw images to a classifier's features."""

    inputs, outputs = ("images",), ("features",)

    def __init__(self, features: nn.Module):
        super().__init__()
        self.features = features

    def forward(self, images: Tensor) -> Tensor:
        return self.features(as_inputs(images))


def export_features(features: nn.Module, images: np.ndarray) -> bytes:
    """An ONNX graph from images `uint8 [batch, ...]` to features of inputs, checked on these images as a model's is.

    Raises UserError where it differs.
    """
    example = _example(images)
    module = Features(features).eval()
    graph = _graph(module, example[:2], {})
    _refuse({"onnx": difference(module, _onnx(graph), example)}, "classifier")
    return graph


def _example(images: np.ndarray) -> Tensor:
    """As many of these images as the largest batch has, from the first again where they are fewer."""
    return torch.from_numpy(images[np.arange(max(BATCH_SIZES)) % len(images)])


def save(trained: Trained, folder: str | Path, images: np.ndarray) -> None:
    """Write what `vae.train` returned as a folder that `export.Model.load` opens.

    Parameters
    ----------
    trained : Trained
        What `vae.train` returned.
    folder : str or Path
        The folder to write `encoder.onnx`, `decoder.onnx`, `encoder.ts`, `decoder.ts` and `export.json` to.
    images : array
        `uint8 [N, H, W]` or `[N, C, H, W]`, like those that it was trained on. The exported graphs are checked with
        them, and carry the KLD of their codes, in nats per image.

    Raises
    ------
    UserError
        If an exported graph differs from the model.

    Examples
    --------
    >>> trained = vae.train("L2_DNN1_DNN1", images, {"training": {"epochs": 2}})
    >>> export.save(trained, "my_model", images)
    >>> export.Model.load("my_model").label
    'L2_DNN1_DNN1'
    """
    folder, model = Path(folder), trained.model.cpu()
    with torch.inference_mode():
        codes = model.encoder(as_inputs(torch.tensor(np.asarray(images)[: max(BATCH_SIZES)])))
    facts = {
        "label": str(trained.spec),
        "seed": str(trained.seed),
        "status": trained.status,
        "kld": str(float(kld(*codes).sum(1).mean())),
    }
    export(folder, model, np.asarray(images), facts, trained.status == "ok")


def export_trained(folder: Path, images: np.ndarray, origin: Origin = ORIGIN) -> None:
    """Export the model of a folder, with what its files say of it; see `export`."""
    spec, seed = parse_folder(folder)
    metrics = read_json(folder / "metrics.json")
    metadata = {
        "label": str(spec),
        "seed": str(seed),
        "latent_size": str(spec.latent_size),
        "dataset_sha256": provenance.read(folder / "provenance.json")["dataset"]["sha256"],
        "status": metrics["status"],
        "kld": str(metrics["kld"]),
    }
    export(folder, checkpoint.load(folder), images, metadata, metrics["status"] == "ok", origin)


def export(
    folder: Path, model: VAE, images: np.ndarray, metadata: dict[str, str], check: bool, origin: Origin = ORIGIN
) -> None:
    """Write encoder and decoder as .ts and .onnx, and export.json with their hashes and largest relative differences.

    `images` are real ones, `uint8 [N, H, W]` or `[N, C, H, W]`, to check the encoder with; the decoder is checked with
    draws from the prior. Raises UserError for a difference above `TOLERANCE`, unless `check` is False: a diverged
    model's weights may compute nothing that could be compared. `origin` is what export.json says it was made by.
    """
    pictures, image_shape = _example(images), images.shape[1:]
    generator = torch.Generator().manual_seed(of_study("exported_codes"))
    codes = torch.randn(len(pictures), model.latent_size, generator=generator)
    encoder, decoder = Encoder(model).eval(), Decoder(model, image_shape).eval()
    sides: dict[str, tuple[Graph, Graph, Tensor]] = {
        "encoder": (encoder, encoder.rearranged(pictures[:1]), pictures),
        "decoder": (decoder, decoder, codes),
    }
    shapes = {"image_shape": " ".join(map(str, image_shape)), "latent_size": str(model.latent_size)}
    differences: dict[str, dict[str, float]] = {}
    files: dict[str, bytes] = {}
    for side, (module, fast, example) in sides.items():
        meaning = dict(zip(("input", "output"), module.meaning, strict=True))
        properties = metadata | {"side": side} | shapes | meaning
        script, graph = _script(fast, example[:2], properties), _graph(module, example[:2], properties)
        files |= {f"{side}.ts": script, f"{side}.onnx": graph}
        if check:
            exported: dict[str, Callable] = {"torchscript": _load(script), "onnx": _onnx(graph)}
            differences[side] = {kind: difference(module, run, example) for kind, run in exported.items()}
            _refuse(differences[side], f"{folder}: {side}")
    for name, content in files.items():
        write_bytes(folder / name, content)
    log.info("%s: largest relative differences %s", folder, differences or "not checked, the model diverged")
    hashes = {name: sha256(content) for name, content in files.items()}
    facts = {"batch_sizes": list(BATCH_SIZES), "largest_relative_difference": differences, "sha256": hashes}
    provenance.write(folder / "export.json", facts, origin)


def _refuse(differences: dict[str, float], what: str) -> None:
    for kind, value in differences.items():
        if not value <= TOLERANCE:  # NaN is refused too
            raise UserError(
                f"{what} as {kind} differs from the trained model by {value:.1e} relative, more than {TOLERANCE:.0e}"
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings that TorchScript, and the ONNX exporter that starts from it, are deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _script(module: nn.Module, example: Tensor, facts: dict[str, str]) -> bytes:
    """TorchScript, with what a reader should know of it as extra files of the archive."""
    script = io.BytesIO()
    with _quiet(), exact_convolutions():
        torch.jit.save(torch.jit.trace(module, example, check_trace=False), script, _extra_files=facts)
    return script.getvalue()


def _graph(module: Graph, example: Tensor, facts: dict[str, str]) -> bytes:
    """ONNX by way of TorchScript; torch's other exporter to ONNX takes fifty times as long."""
    stream = io.BytesIO()
    names = module.inputs + module.outputs
    with _quiet():
        torch.onnx.export(
            module,
            (example,),
            stream,  # type: ignore[arg-type]  # the stub leaves out streams, which this exporter takes
            input_names=list(module.inputs),
            output_names=list(module.outputs),
            dynamic_axes={name: {0: "batch"} for name in names},
            opset_version=OPSET,
            dynamo=False,
        )
    graph = onnx.load_from_string(stream.getvalue())
    graph.producer_name, graph.producer_version = "vae-architectures", __version__
    graph.doc_string = f"{facts.get('label', '')} {facts.get('side', '')}: {'; '.join(module.meaning)}".strip()
    if module.inputs == ("images",):
        graph.graph.input[0].type.denotation = "IMAGE"
        facts = facts | _pixels(tuple(example.shape[1:]))
    onnx.helper.set_model_props(graph, facts | {"model_license": "MIT"})
    return graph.SerializeToString()


def _pixels(shape: tuple[int, ...]) -> dict[str, str]:
    """The kind of the pixels of images `[H, W]` or `[C, H, W]`, by the names of ONNX's metadata."""
    formats = {1: "Gray8", 3: "Rgb8"}
    known = formats.get(shape[0] if len(shape) == 3 else 1)
    return {"Image.NominalPixelRange": "NominalRange_0_255"} | ({"Image.BitmapPixelFormat": known} if known else {})


def _load(script: bytes) -> torch.jit.ScriptModule:
    with _quiet():
        return torch.jit.load(io.BytesIO(script))


def _onnx(graph: bytes) -> Callable[[Tensor], list[np.ndarray]]:
    session = open_session(graph, torch.get_num_threads())
    (entry,) = session.get_inputs()
    return lambda batch: session.run(None, {entry.name: batch.numpy()})


@torch.inference_mode()
def difference(module: Callable, exported: Callable, example: Tensor) -> float:
    """The largest difference of any output at any batch size, relative to that output's largest value."""
    largest = 0.0
    for size in BATCH_SIZES:
        for wanted, output in zip(_outputs(module, example[:size]), _outputs(exported, example[:size]), strict=True):
            if wanted.shape != output.shape:
                return float("inf")
            largest = np.maximum(largest, np.abs(output - wanted).max() / max(np.abs(wanted).max(), 1e-12))
    return float(largest)


def _outputs(run: Callable, batch: Tensor) -> list[np.ndarray]:
    outputs = run(batch)
    return [np.asarray(output) for output in ([outputs] if isinstance(outputs, Tensor) else outputs)]
