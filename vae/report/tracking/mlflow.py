"""A study for MLflow: a run of an experiment for each model, with its curves, hyperparameters and final metrics."""

import hashlib
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from vae.errors import UserError, lacking
from vae.report.tracking.runs import Run

# Tags: which model a run is of; how many epochs and whether metrics it has; and the digest of these, to know it by.
NAME, EPOCHS, MEASURED, DIGEST = "vae.model", "vae.epochs", "vae.measured", "vae.sha256"
SQLITE = "sqlite:///"
BATCH = 1000  # metrics that MLflow takes at once
OVER = {False: "FINISHED", True: "FAILED"}  # what MLflow calls a run that is over, by whether the model diverged


def address(target: str) -> str:
    """The tracking URI of a target: itself, or of a folder the database in it."""
    return target if "://" in target else f"{SQLITE}{Path(target).absolute() / 'mlflow.db'}"


def track(runs: Iterable[Run], target: str, experiment: str) -> Counter[str]:
    """Log what is new of every run; returns how many were added, extended, replaced and unchanged.

    `target` is a folder or a tracking URI. A run whose model was trained again since, or that was left half-written, is
    deleted and logged anew. Raises UserError where MLflow is not installed, or refuses something.
    """
    uri = address(target)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it reports its use to its makers
    try:
        from mlflow.exceptions import MlflowException  # isort: skip (it is the first to be named)
        import alembic  # noqa: F401 (MLflow needs it for its databases)
        from sqlalchemy.exc import SQLAlchemyError
    except ModuleNotFoundError as error:
        raise UserError(lacking("vae track --to mlflow", error, "track")) from None
    try:
        client = _client(uri)
        identity = _experiment(client, target, experiment)
        there = {run.data.tags[NAME]: run for run in _logged(client, identity) if NAME in run.data.tags}
        return Counter(_log(client, identity, run, there.get(run.name)) for run in runs)
    except (MlflowException, SQLAlchemyError) as error:
        raise UserError(f"{uri}: {str(error).strip().splitlines()[0]}") from None


def _client(uri: str) -> Any:
    """A client of the tracking URI."""
    from mlflow.tracking import MlflowClient

    if uri.startswith(SQLITE):
        Path(uri.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def _experiment(client: Any, target: str, name: str) -> str:
    """The identity of the experiment of this name, which is made if there is none."""
    if found := client.get_experiment_by_name(name):
        return found.experiment_id
    files = None if "://" in target else (Path(target).absolute() / "artifacts").as_uri()
    return client.create_experiment(name, artifact_location=files)


def _logged(client: Any, experiment: str) -> Iterator[Any]:
    page = client.search_runs([experiment])
    yield from page
    while page.token:
        page = client.search_runs([experiment], page_token=page.token)
        yield from page


def _log(client: Any, experiment: str, run: Run, there: Any) -> str:
    """Log what is new of a run; returns what that makes of it."""
    tags = there.data.tags if there else {}
    epochs, measured = int(tags.get(EPOCHS, 0)), tags.get(MEASURED) == "True"
    over = there is not None and there.info.status in OVER.values()
    replaced = there is not None and not (over and tags.get(DIGEST) == _digest(run, epochs, measured))
    if replaced:
        client.delete_run(there.info.run_id)
        there, epochs, measured = None, 0, False
    new = {name: values[epochs : run.epochs] for name, values in run.curves.items()}
    metrics = {} if measured else run.metrics
    if there and not (any(new.values()) or metrics):
        return "unchanged"
    # It is running while this writes, so that one that is left half-written is known.
    if there:
        client.update_run(there.info.run_id, status="RUNNING")
    else:
        there = client.create_run(experiment, run_name=run.name, tags={NAME: run.name})
    _write(client, there.info.run_id, run, {name: (epochs + 1, values) for name, values in new.items()}, metrics)
    return "replaced" if replaced else "extended" if epochs else "added"


def _write(client: Any, run_id: str, run: Run, curves: dict[str, tuple[int, list[float]]], metrics: dict) -> None:
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    points = iter(
        [
            Metric(name, value, now, step)
            for name, (first, values) in curves.items()
            for step, value in enumerate(values, first)
        ]
        + [Metric(name, value, now, run.epochs) for name, value in metrics.items()]
    )
    while batch := list(islice(points, BATCH)):
        client.log_batch(run_id, metrics=batch)
    measured = bool(run.metrics)
    tags = {EPOCHS: str(run.epochs), MEASURED: str(measured), DIGEST: _digest(run, run.epochs, measured)}
    client.log_batch(
        run_id,
        params=[Param(name, str(value)) for name, value in run.hyperparameters.items()],
        tags=[RunTag(name, value) for name, value in tags.items()],
    )
    client.set_terminated(run_id, status=OVER[run.diverged])


def _digest(run: Run, epochs: int, measured: bool) -> str:
    """SHA-256 of what is logged of a run after so many epochs, and with or without its metrics."""
    curves = {name: values[:epochs] for name, values in run.curves.items()}
    logged = [run.hyperparameters, curves, run.metrics if measured else {}]
    return hashlib.sha256(json.dumps(logged, sort_keys=True).encode()).hexdigest()
