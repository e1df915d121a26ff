"""Resuming after a Snakemake that was killed or interrupted, without `--unlock` and without `--rerun-incomplete`.

Snakemake keeps locks, and marks of unfinished files, in `.snakemake`. After a kill both stay; after an interrupt, which
ends Snakemake in an orderly way, the marks stay alone. Either would end every later run. So each run notes which
process it is, and removes what processes left that are gone.
"""

import platform
import shutil
import sys
from base64 import urlsafe_b64decode
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from vae.errors import UserError
from vae.files import read_json, write_json


@dataclass(frozen=True)
class Process:
    """A process, of those of all machines and times.

    Numbers are given again, so `started` tells when it started: in seconds since its machine did, for clocks are set.
    """

    node: str
    pid: int
    started: float

    @classmethod
    def of(cls, process: psutil.Process) -> "Process":
        """A process of this machine."""
        return cls(platform.node(), process.pid, round(process.create_time() - psutil.boot_time(), 2))

    @property
    def is_here(self) -> bool:
        """Whether it is of this machine."""
        return self.node == platform.node()

    @property
    def is_alive(self) -> bool:
        """Whether it runs on this machine."""
        try:
            process = psutil.Process(self.pid)
            # A zombie has ended: only its parent, which may never ask, has not asked for its exit code.
            return Process.of(process) == self and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


class WorkingDirectory:
    """The locks and marks that Snakemake keeps in `folder`, its `.snakemake`, and the processes that hold it.

    There may be several: of two that make different files Snakemake refuses neither.
    """

    def __init__(self, folder: Path = Path(".snakemake")):
        self.note, self.locks, self.marks = folder / "holders.json", folder / "locks", folder / "incomplete"

    def take(self, results: Path) -> None:
        """Become a holder, and remove what the holders before left, if all of them are gone; warn of those at work.

        With the marks go the files below `results` that they name: jobs may have gone on without their Snakemake, and
        the config may be another one now. Locks of another machine stay, for nobody knows here whether it is at work;
        so do locks without a note, which are of another workflow.
        """
        this = Process.of(psutil.Process())
        locked = any(self.locks.glob("*.lock"))
        if locked and not self.note.exists():
            return
        others = [holder for holder in self._read() if holder != this]
        # A process of another machine has ended if there are no locks, or has not begun.
        at_work = [holder for holder in others if holder.is_alive or (locked and not holder.is_here)]
        for holder in at_work:
            # Snakemake may say after this that there are incomplete files, and advise to make them again.
            who = f"process {holder.pid}, is" if holder.is_here else f"process {holder.pid} of {holder.node}, may be"
            print(f"vae: WARNING: another snakemake, {who} at work in this folder", file=sys.stderr)
        if not at_work:
            self._clear(results.resolve())
        write_json(self.note, {"holders": [asdict(holder) for holder in [*at_work, this]]})

    def _read(self) -> list[Process]:
        try:
            return [Process(**holder) for holder in read_json(self.note)["holders"]]
        except (UserError, LookupError, TypeError):  # there is no note, or it was lost with the machine's power
            return []

    def _clear(self, results: Path) -> None:
        for mark in [path for path in self.marks.rglob("*") if path.is_file()]:
            # Named by the file in base64; parts of a long name are folders that begin with @.
            name = "".join(part.removeprefix("@") for part in mark.relative_to(self.marks).parts)
            with suppress(ValueError):  # what else lies there is no mark
                path = Path(urlsafe_b64decode(name).decode())
                if path.resolve().is_relative_to(results):
                    path.unlink(missing_ok=True)
                    mark.unlink(missing_ok=True)
        shutil.rmtree(self.locks, ignore_errors=True)
