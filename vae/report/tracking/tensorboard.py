"""A study for TensorBoard: curves, hyperparameters with final metrics, and codes with their images to project."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from vae import seeds
from vae.errors import UserError, lacking
from vae.files import read_npz
from vae.report.tracking.runs import Run

# TensorBoard's sheet of images has at most 8192 pixels a side; pixels a side of one image on it.
THUMBNAIL = 64
EMBEDDING = "latents"


class Thumbnails:
    """Some test images of a study: `indices` `[N]`, `images` `[N, C, S, S]` from 0 to 1 with C 1 or 3, and `labels`."""

    def __init__(self, dataset: Path, count: int):
        arrays = read_npz(dataset, "test_images", optional=["test_labels"])
        self.total = len(arrays["test_images"])
        self.indices = np.sort(seeds.draw(self.total, min(count, self.total)))
        self.images = _squares(arrays["test_images"][self.indices])
        labels = arrays.get("test_labels")
        self.labels = None if labels is None else [str(label) for label in labels[self.indices]]


def _squares(images: np.ndarray) -> np.ndarray:
    """Images `uint8 [N, H, W]` or `[N, C, H, W]` as floats `[N, 1 or 3, S, S]`, with S at most `THUMBNAIL`."""
    planes = images[:, None] if images.ndim == 3 else images
    planes = planes if planes.shape[1] in (1, 3) else planes.mean(1, keepdims=True)
    step = -(-max(planes.shape[2:]) // THUMBNAIL)
    planes = (planes[:, :, ::step, ::step] / 255).astype(np.float32)
    height, width = planes.shape[2:]
    side = max(height, width)
    up, left = (side - height) // 2, (side - width) // 2
    return np.pad(planes, ((0, 0), (0, 0), (up, side - height - up), (left, side - width - left)))


def track(runs: Iterable[Run], target: Path, thumbnails: Thumbnails | None) -> Counter[str]:
    """Write what is new of every run below `target`; returns how many were added, extended, replaced and unchanged.

    A run whose model was trained again since is written anew. Raises UserError where TensorBoard is not installed.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise UserError(lacking("vae track --to tensorboard", error, "track")) from None
    outcome: Counter[str] = Counter()
    for run in runs:
        folder = target / run.name
        there = _Written(folder, EventAccumulator)
        replaced = there.any and not there.is_of(run)
        if replaced:
            _remove(folder)
            there = _Written(folder, EventAccumulator)
        told = "replaced" if replaced else "extended" if there.any else "added"
        outcome[told if _write(run, folder, there, thumbnails, SummaryWriter) else "unchanged"] += 1
    return outcome


class _Written:
    """The events of a run: steps and values of each name, and its hyperparameters, if any."""

    def __init__(self, folder: Path, accumulator: Callable):
        self.scalars: dict[str, list[tuple[int, float]]] = {}
        self.hyperparameters: dict[str, Any] | None = None
        self.embedding = (folder / "projector_config.pbtxt").exists()
        if any(folder.glob("events.out.tfevents.*")):
            events = accumulator(str(folder), size_guidance={"scalars": 0}).Reload()
            for name in events.Tags()["scalars"]:
                self.scalars[name] = [(event.step, event.value) for event in events.Scalars(name)]
            self.hyperparameters = _hyperparameters(events)

    @property
    def any(self) -> bool:
        """Whether anything is."""
        return bool(self.scalars)

    def is_of(self, run: Run) -> bool:
        """Whether all of it is of the model as it is now, which may have more."""
        wanted = _scalars(run)
        same = all(_same(points, wanted.get(name, [])[: len(points)]) for name, points in self.scalars.items())
        return same and self.hyperparameters in (None, _as_written(run.hyperparameters))


def _scalars(run: Run) -> dict[str, list[tuple[int, float]]]:
    """All values of a run with their epochs."""
    curves = {name: list(enumerate(values, start=1)) for name, values in run.curves.items()}
    return curves | {name: [(run.epochs, value)] for name, value in run.metrics.items()}


def _same(points: list[tuple[int, float]], wanted: list[tuple[int, float]]) -> bool:
    return np.array_equal(np.array(points, np.float32), np.array(wanted, np.float32), equal_nan=True)


def _as_written(hyperparameters: dict) -> dict:
    """Numbers as TensorBoard keeps them."""
    return {key: value if isinstance(value, str) else float(value) for key, value in hyperparameters.items()}


def _hyperparameters(events: Any) -> dict[str, Any] | None:
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    try:
        content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    except KeyError:
        return None
    values = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    return {key: getattr(value, value.WhichOneof("kind")) for key, value in values.items()}


def _write(run: Run, folder: Path, there: _Written, thumbnails: Thumbnails | None, writer: Callable) -> bool:
    """Write what is not there; returns whether that was anything."""
    new = {name: points[len(there.scalars.get(name, [])) :] for name, points in _scalars(run).items()}
    curves = {name: points for name, points in new.items() if points and name in run.curves}
    metrics = {name: points[0][1] for name, points in new.items() if points and name in run.metrics}
    embedding = thumbnails if run.latents and not there.embedding else None
    if not (curves or metrics or embedding):
        return False
    with writer(str(folder)) as events:
        for name, points in curves.items():
            for epoch, value in points:
                events.add_scalar(name, value, epoch)
        if embedding and run.latents:
            _embed(run.latents, embedding, folder, events)
        if metrics:
            events.flush()  # a reader goes on to the next file, which hyperparameters have
            events.add_hparams(run.hyperparameters, metrics, run_name=".", global_step=run.epochs)
    return True


def _embed(latents: Path, thumbnails: Thumbnails, folder: Path, events: Any) -> None:
    import torch

    means = read_npz(latents, "mean")["mean"]
    if len(means) != thumbnails.total:
        raise UserError(f"{latents}: codes of {len(means)} images, of which the dataset has {thumbnails.total}")
    _remove_embedding(folder)  # half-written by a process that was killed
    events.add_embedding(
        torch.from_numpy(means[thumbnails.indices]),
        metadata=thumbnails.labels,
        label_img=torch.from_numpy(thumbnails.images),
        tag=EMBEDDING,
    )


def _remove(folder: Path) -> None:
    """Remove what was written of a run, and nothing else."""
    for path in folder.glob("events.out.tfevents.*"):
        path.unlink()
    _remove_embedding(folder)


def _remove_embedding(folder: Path) -> None:
    (folder / "projector_config.pbtxt").unlink(missing_ok=True)
    shutil.rmtree(folder / "00000" / EMBEDDING, ignore_errors=True)  # where the writer puts it
