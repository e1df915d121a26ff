"""Running exported encoders and decoders with onnxruntime, without torch."""

import logging
from math import isfinite
from pathlib import Path

import numpy as np
import onnxruntime

from vae.errors import UserError
from vae.files import read_json, verify
from vae.seeds import of_model

log = logging.getLogger(__name__)

BATCH = 1000
# Nats of KLD per image, below which a model counts as collapsed: the default of `evaluation.collapsed_below`.
COLLAPSED = 0.1
# Which file of a model's folder says what the SHA-256 of another is.
MANIFESTS = {"encoder.int8.onnx": "encoder.int8.json"} | dict.fromkeys(
    ("encoder.onnx", "decoder.onnx", "encoder.ts", "decoder.ts"), "export.json"
)


def content(path: Path) -> bytes:
    """The bytes of an exported file; UserError where they are not those that its manifest, if it lies there, says."""
    raw, manifest = path.read_bytes(), path.parent / MANIFESTS.get(path.name, "")
    noted = read_json(manifest).get("sha256") if manifest.is_file() else None
    if isinstance(noted, dict) and path.name in noted:
        verify(path, noted[path.name], raw)
    return raw


def open_session(
    model: Path | bytes, threads: int, provider: str = "CPUExecutionProvider"
) -> onnxruntime.InferenceSession:
    """Open an ONNX file, or its content; UserError names a file that is missing or not sound, or needs other files."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        # Given a path, onnxruntime reads weights from whatever other files the graph names beside it.
        graph = content(model) if isinstance(model, Path) else model
        return onnxruntime.InferenceSession(graph, options, providers=[provider])
    except UserError:
        raise
    except Exception as error:  # onnxruntime's own exceptions share no public base class
        name, reason = model if isinstance(model, Path) else "graph", " ".join(str(error).split())
        raise UserError(f"{name}: onnxruntime cannot load it ({reason})") from None


def warn_of(name: str, metadata: dict[str, str]) -> None:
    """Warn in one line of a model that diverged or collapsed, by what its graph says of its training."""
    if metadata.get("status", "ok") != "ok":
        log.warning("%s: training diverged; its codes and images are meaningless", name)
    elif "kld" in metadata and isfinite(kld := float(metadata["kld"])) and kld < COLLAPSED:
        log.warning(
            "%s: collapsed, its codes carry next to no information about an image (KLD %.2g nats per image)", name, kld
        )


def sizes(value: onnxruntime.NodeArg) -> tuple[int, ...]:
    """The sizes of all axes but the first of an input or output; empty where the graph leaves one of them open."""
    axes = tuple(value.shape[1:])
    return axes if all(isinstance(size, int) for size in axes) else ()


def run(session: onnxruntime.InferenceSession, inputs: np.ndarray) -> list[np.ndarray]:
    """Every output for `inputs` of any length, computed in batches and joined along the first axis."""
    batches = [compute(session, inputs[i : i + BATCH]) for i in range(0, len(inputs), BATCH)]
    return [np.concatenate(outputs) for outputs in zip(*batches, strict=True)]


def compute(session: onnxruntime.InferenceSession, inputs: np.ndarray) -> list[np.ndarray]:
    """Every output for `inputs` at once; UserError where the graph fails, or gives another shape than it says."""
    try:
        outputs = session.run(None, {session.get_inputs()[0].name: inputs})
    except Exception as error:  # as in `open_session`
        raise UserError(f"graph: onnxruntime cannot run it ({' '.join(str(error).split())})") from None
    for said, output in zip(session.get_outputs(), outputs, strict=True):
        if output.shape != (wanted := (len(inputs), *said.shape[1:])):
            raise UserError(f"graph: {said.name} is {list(output.shape)}, where it says {list(wanted)}")
    return outputs


def decode(folder: Path, codes: np.ndarray, threads: int) -> np.ndarray:
    """Probabilities, `float32 [N, H, W]` or `[N, C, H, W]`, of codes `float32 [N, latent]`."""
    (probabilities,) = run(open_session(folder / "decoder.onnx", threads), codes)
    return probabilities


def prior_samples(folder: Path, count: int, seed: int, threads: int) -> np.ndarray:
    """Images `uint8 [count, H, W]` or `[count, C, H, W]` of codes drawn from the prior; `seed` is the model's."""
    session = open_session(folder / "decoder.onnx", threads)
    (latent_size,) = sizes(session.get_inputs()[0])
    rng = np.random.default_rng(of_model("prior_samples", seed))
    codes = rng.standard_normal((count, latent_size), np.float32)
    (probabilities,) = run(session, codes)
    return grey_levels(probabilities)


def examples(
    folder: Path, mean: np.ndarray, log_variance: np.ndarray, labels: np.ndarray | None, seed: int, threads: int
) -> dict[str, np.ndarray]:
    """Ten reconstructions and ten samples from the prior, as images `uint8 [10, H, W]` or `[10, C, H, W]`.

    `mean` and `log_variance` are those of the whole test set; reconstructed are the first image of each class, or
    without labels the first ten, each from one draw from q(z|x), as the losses are: a decoder has never seen the means
    themselves, which lie nearer to zero than any code. `indices` says which images. `seed` is the model's.
    """
    first = np.arange(len(mean))
    if labels is not None:
        _, first = np.unique(labels, return_index=True)
    indices = first[:10]
    draws = {stream: np.random.default_rng(of_model(stream, seed)) for stream in ("gallery_samples", "gallery_codes")}
    prior = draws["gallery_samples"].standard_normal((10, mean.shape[1]), np.float32)
    noise = draws["gallery_codes"].standard_normal((len(indices), mean.shape[1]), np.float32)
    codes = mean[indices] + np.exp(log_variance[indices] / 2) * noise
    return {
        "indices": indices,
        "reconstructions": grey_levels(decode(folder, codes, threads)),
        "samples": grey_levels(decode(folder, prior, threads)),
    }


def grey_levels(probabilities: np.ndarray) -> np.ndarray:
    return np.rint(np.nan_to_num(probabilities) * 255).astype(np.uint8)
