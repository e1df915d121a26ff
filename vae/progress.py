"""The progress of a study: its jobs, and which of them are done, running, failed or waiting.

All of it is read from files, of the results and of the `.snakemake` of the folder that Snakemake runs in; nothing is
written. In `workflow/lib`, `jobs.py` says which files a job has, and `locks.py` notes which Snakemake is at work.
"""

import os
import platform
import re
import time
from base64 import urlsafe_b64decode
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from itertools import product
from math import inf
from pathlib import Path
from typing import TypeVar

import psutil

from vae import grid
from vae.catalogue import FIGURES, STAGES, Stage
from vae.errors import UserError
from vae.files import read_config, read_json

T = TypeVar("T")
There = Callable[[str], frozenset[str]]
DONE, RUNNING, FAILED, WAITING = STATES = ("done", "running", "failed", "waiting")
# The jobs that come before the config of a study is in its results.
FIRST = ("dataset", "check")
LOGS = "*.snakemake.log"
STEPS = re.compile(rb"^(\d+) of (\d+) steps", re.MULTILINE)
# In a log of Snakemake's: when a job failed, its number, and its own log.
FAILURE = re.compile(
    rb"(?:\[(.+?)\]\n)?Error in rule \w+:\n(?:    .*\n)*?"
    rb"    jobid: (\d+)\n(?:    .*\n)*?"
    rb"    log: (.+?)(?:,| \(check log)"
)
# In a log of ours, a line that says why a job failed.
ERROR = re.compile(r"^\S+ \S+ ERROR ", re.MULTILINE)
TAIL = 2**14  # bytes of a log that are read
TIMED = 100  # jobs of a stage whose times are read


@dataclass(frozen=True)
class Job:
    """A job of a stage, with the name of its pair or its label, "" for that of the study; and its files in `results`.

    Of `files`, which it writes, the first is written last by the jobs of models.
    """

    stage: str
    name: str
    pair: str
    files: tuple[str, ...]

    @property
    def log(self) -> str:
        """The file that it logs to."""
        return os.path.join("logs", self.stage, f"{self.name}.log") if self.name else f"logs/{self.stage}.log"

    @property
    def benchmark(self) -> str:
        """The file that has its time, once it has succeeded."""
        return f"benchmarks{self.log.removeprefix('logs').removesuffix('.log')}.tsv"

    def __str__(self) -> str:
        return f"{self.stage} {self.name}".strip()


def jobs(config: dict) -> list[Job]:
    """All jobs of a study, of its whole config; those of stages that it has on demand too."""
    evaluation, specs = config["evaluation"], grid.expand(config)
    pairs = list(dict.fromkeys(spec.pair for spec in specs))
    of_pair = {
        "tune": pairs if grid.tuned(config) else [],
        "fidelity": [spec.pair for spec in grid.sentinels(config)],
    }
    asked = {f"evaluation.{key}" for key, value in evaluation.items() if value} | set(config["grid"].get("sweep", {}))
    models = defaultdict(list)
    for spec, seed in product(specs, config["training"]["seeds"]):
        name = spec.pair if config.get("jobs", "pair") == "pair" else f"L{spec.latent_size}_{spec.pair}"
        models[name, spec.pair].append(grid.folder("models", spec, seed))
    found = []
    for stage in STAGES.values():
        if stage.key and not evaluation.get(stage.key):
            continue
        if stage.of == "study":
            found.append(Job(stage.name, "", "", tuple(_of_study(stage, asked))))
        elif stage.of == "pair":
            for pair in of_pair.get(stage.name, pairs):
                encoder, decoder = pair.split("_")
                files = (file.format(encoder=encoder, decoder=decoder) for file in stage.writes.values())
                found.append(Job(stage.name, pair, pair, tuple(files)))
        else:
            for (name, pair), folders in models.items():
                files = (f"{folder}/{file}" for folder in folders for file in stage.writes.values())
                found.append(Job(stage.name, name, pair, (f"jobs/{name}/{stage.name}", *files)))
    return found


def _of_study(stage: Stage, asked: set[str]) -> Iterator[str]:
    """The files of a job of the whole study; of figures, those of what it sweeps or measures."""
    for name, file in stage.writes.items():
        figure = FIGURES.get(name.removesuffix("_pdf")) if stage.name == "figures" else None
        if not (figure and figure.shows) or figure.shows in asked:
            yield file


class Run:
    """What Snakemake has noted of the jobs below `results`, in the nearest folder above that it has run in.

    `at_work` are the processes at work there, `begun` is since when they are, in seconds since 1970, and `steps` are
    how many of their jobs are done, and how many there are, if they say so. `marks` are the files that jobs have begun
    to write, with the time; `failures` the logs of jobs that failed, with the last time, and whether Snakemake has
    given them up. Files and logs are relative to `results`.
    """

    def __init__(self, results: Path):
        here = Path(os.path.abspath(results))
        folder = next((parent for parent in here.parents if (parent / ".snakemake").is_dir()), None)
        self.at_work: list[str] = []
        self.steps: list[int] = []
        self.begun, self.marks, self.failures = 0.0, dict[str, float](), dict[str, tuple[float, bool]]()
        if folder:
            state, below = folder / ".snakemake", f"{here.relative_to(folder)}/"
            locks = [_modified(lock) for lock in (state / "locks").glob("*.lock")]
            self.at_work = list(_at_work(state / "holders.json", bool(locks)))
            self.begun = min(locks, default=0.0) if self.at_work else 0.0
            self.steps = _steps(state / "log", self.begun) if self.begun else []
            self.marks = _below(below, _marks(state / "incomplete"))
            self.failures = _below(below, sorted(_failures(state / "log"), key=lambda failure: failure[1][0]))


def _below(folder: str, found: Iterable[tuple[str, T]]) -> dict[str, T]:
    """What is found of files below a folder, by their path in it; of several findings the last."""
    return {path.removeprefix(folder): what for path, what in found if path.startswith(folder)}


def _at_work(note: Path, locked: bool) -> Iterator[str]:
    """The processes that hold the folder; of another machine, where there are locks, for nobody knows here."""
    with suppress(UserError, LookupError, TypeError, ValueError):  # no note, or not one of ours
        for holder in read_json(note)["holders"]:
            node, pid, started = holder["node"], holder["pid"], holder["started"]
            if node != platform.node():
                if locked:
                    yield f"process {pid} of {node}"
            elif _runs(pid, started):
                yield f"process {pid}"


def _runs(pid: int, started: float) -> bool:
    """Whether the process of this number started so many seconds after this machine did, and has not ended."""
    try:
        process = psutil.Process(pid)
        since = round(process.create_time() - psutil.boot_time(), 2)
        return since == started and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _marks(folder: Path) -> Iterator[tuple[str, float]]:
    """The files that jobs have begun to write, from marks that are named by them in base64."""
    for mark in folder.rglob("*"):
        # Parts of a long name are folders that begin with @.
        name = "".join(part.removeprefix("@") for part in mark.relative_to(folder).parts)
        with suppress(ValueError, FileNotFoundError):  # no mark, or of a job that has just ended
            if mark.is_file():
                yield urlsafe_b64decode(name).decode(), mark.stat().st_mtime


def _steps(folder: Path, begun: float) -> list[int]:
    """How many jobs are done and how many there are, by the last log that was opened before these locks were taken."""
    before = datetime.fromtimestamp(begun).isoformat().replace(":", "")
    logs = [path for path in folder.glob(LOGS) if path.name < before]
    found = STEPS.findall(max(logs).read_bytes()) if logs else []
    return [int(count) for count in found[-1]] if found else []


def _failures(folder: Path) -> Iterator[tuple[str, tuple[float, bool]]]:
    """The logs of jobs that failed, from the logs of all of Snakemake's runs: when, and whether it gave them up."""
    for path in folder.glob(LOGS):
        text = path.read_bytes()
        for failure in FAILURE.finditer(text):
            when, number, log = failure.groups(b"")
            try:
                seconds = time.mktime(time.strptime(when.decode(errors="replace")))
            except ValueError:
                seconds = _modified(path)
            again = text.find(b"Trying to restart job %s." % number, failure.end()) >= 0
            yield log.decode(errors="replace"), (seconds, not again)


@dataclass
class Progress:
    """The progress of a study.

    `states` has the state of every job, and `began` when those began that are marked as such, in seconds since 1970.
    `steps` are those of the Snakemake that is at work, done and all, where it says so. `known` is whether the config is
    in the results, without which only the first jobs are known.
    """

    results: Path
    models: int
    known: bool
    at_work: list[str]
    steps: list[int]
    states: dict[Job, str] = field(default_factory=dict)
    began: dict[Job, float] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """The state of the whole: `failed` where a job is, `done`, `running`, or else `stopped`."""
        if FAILED in self.states.values():
            return FAILED
        if self.known and set(self.states.values()) == {DONE}:
            return DONE
        return RUNNING if self.at_work else "stopped"

    def of(self, state: str) -> list[Job]:
        """The jobs in a state."""
        return [job for job, found in self.states.items() if found == state]

    @property
    def interrupted(self) -> list[Job]:
        """The jobs that had begun when their Snakemake ended: they wait, and training resumes."""
        return [job for job in self.began if self.states[job] == WAITING]

    def reason(self, job: Job) -> tuple[Path, str]:
        """The log of a job, and its last line, "" where it has none."""
        path = self.results / job.log
        return path, next(reversed(_tail(path).split("\n")), "")

    def seconds_left(self, now: float) -> tuple[float, list[str]]:
        """How many seconds the jobs take that are not done, one after the other; and the stages that nothing tells of.

        Each job counts as the mean of those of its stage that succeeded; one that is running, as what is left of that.
        """
        means = {stage: self._mean(stage) for stage in {job.stage for job in self.states}}
        rest = [*self.of(RUNNING), *self.of(WAITING)]
        told = [(job, mean) for job in rest if (mean := means[job.stage]) is not None]
        left = sum(max(mean - (now - self.began.get(job, now)), 0.0) for job, mean in told)
        return left, list(dict.fromkeys(job.stage for job in rest if means[job.stage] is None))

    def _mean(self, stage: str) -> float | None:
        """The mean time of the jobs of a stage that have succeeded, of `TIMED` or so; None where none has."""
        folder = self.results / "benchmarks"
        files = sorted((folder / stage).glob("*.tsv")) or [folder / f"{stage}.tsv"]
        times = [_seconds(file) for file in files[:: len(files) // TIMED + 1]]
        told = [seconds for seconds in times if seconds is not None]
        return sum(told) / len(told) if told else None


def read(results: Path) -> Progress:
    """The progress of the study in a results folder; UserError if there is none."""
    if not results.is_dir():
        raise UserError(f"{results}: no such folder; name the results of a study")
    path, run = results / "config.yaml", Run(results)
    if path.exists():
        config = read_config(str(path))
        try:
            found = jobs(config)
            models = len(grid.expand(config)) * len(config["training"]["seeds"])
        except (LookupError, TypeError, AttributeError):
            raise UserError(f"{path}: not the config of a study of this version") from None
    else:
        found, models = [Job(name, "", "", tuple(STAGES[name].writes.values())) for name in FIRST], 0
        if not run.marks and not any((results / file).exists() for job in found for file in (job.log, *job.files)):
            inside = results / "results"
            hint = f"; did you mean {inside}?" if inside.is_dir() else "; name the folder results of a study"
            raise UserError(f"{results}: not the results of a study (has no config.yaml){hint}")
    progress = Progress(results, models, path.exists(), run.at_work, run.steps)
    _fill(progress, found, run)
    return progress


def _fill(progress: Progress, found: list[Job], run: Run) -> None:
    """Find the state of every job.

    A job is done where its files are there, and all jobs whose files it reads were done before. Files of models are as
    old as `results/jobs` says, which copies keep; how old other files are counts for nothing that reads them.
    """
    results, there = progress.results, cache(lambda folder: frozenset(_names(progress.results / folder)))
    # When the last job of a stage was done, in nanoseconds since 1970: of a name, of a pair, and of the study, "".
    latest: dict[tuple[str, str], float] = defaultdict(float)
    for job in found:
        if STAGES[job.stage].on_demand and not (results / "logs" / job.stage).is_dir():
            continue
        read = [STAGES[name] for name in STAGES[job.stage].reads]
        before = max((latest[stage.name, _key(job, stage)] for stage in read), default=0.0)
        begun = run.marks.get(job.files[0])
        finished = _finished(job, results, there)
        done = begun is None and before <= finished < inf
        told = inf if not done else finished if STAGES[job.stage].of == "model" else before
        for key in {job.name, job.pair, ""}:
            latest[job.stage, key] = max(latest[job.stage, key], told)
        if begun is not None:
            progress.states[job] = RUNNING if run.at_work else WAITING
            progress.began[job] = begun
        else:
            failed = not done and before < inf and _failed(job, results, run)
            progress.states[job] = DONE if done else FAILED if failed else WAITING


def _key(job: Job, read: Stage) -> str:
    """Which jobs of a stage a job reads the files of: those of its name, of its pair, or all."""
    kinds = STAGES[job.stage].of, read.of
    return "" if "study" in kinds else job.pair if "pair" in kinds else job.name


def _finished(job: Job, results: Path, there: There) -> float:
    """When a job was done, in nanoseconds since 1970; inf where a file is missing."""
    if not all(_exists(file, there) for file in job.files):
        return inf
    with suppress(ValueError, OSError):
        if STAGES[job.stage].of == "model":
            return int((results / job.files[0]).read_text())
    return min(_modified(results / file) for file in job.files) * 1e9


def _failed(job: Job, results: Path, run: Run) -> bool:
    """Whether a job has failed, and neither succeeded since, nor waits for the Snakemake at work to try it."""
    log = results / job.log
    seconds, final = run.failures.get(job.log, (0.0, True))
    # Snakemake logs no failures where it is told to be quiet; what it logs has whole seconds.
    if ERROR.search(_tail(log)) and int(_modified(log)) > seconds:
        seconds, final = _modified(log), True
    return final and seconds > _modified(results / job.benchmark) and seconds >= int(run.begun)


def _exists(file: str, there: There) -> bool:
    folder, _, name = file.rpartition("/")
    return name in there(folder)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _modified(path: Path) -> float:
    """When a file was last written, in seconds since 1970; 0 where it is not there."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _tail(path: Path) -> str:
    """The last lines of a log, without what a terminal would obey; "" where there is none."""
    try:
        with open(path, "rb") as stream:
            stream.seek(max(path.stat().st_size - TAIL, 0))
            text = stream.read().decode(errors="replace").strip()
    except FileNotFoundError:
        return ""
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text)


def _seconds(benchmark: Path) -> float | None:
    """The time of a job that Snakemake measured, None where it has not."""
    try:
        return float(benchmark.read_text().split("\n")[1].split("\t")[0])
    except (OSError, LookupError, ValueError):
        return None
