"""A lease of a share of a GPU, for as long as a job lives."""

import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

PAUSE = 0.2  # seconds


@contextmanager
def lease(gpus: list[str], jobs_per_gpu: int = 1, folder: Path | None = None) -> Iterator[int]:
    """Wait for a free share of one of `gpus`, and yield the index of that GPU.

    `gpus` are names that every job of this user on this machine gives to the same GPU, such as its UUID; each has
    `jobs_per_gpu` shares. A share is a locked file in `folder` (the system's for temporary files if not given); the
    system unlocks it when its holder ends, however that ends. The emptiest GPU is taken first.
    """
    folder = folder or Path(tempfile.gettempdir())
    shares = [(index, f"{gpu}-{share}") for share in range(jobs_per_gpu) for index, gpu in enumerate(gpus)]
    waiting = False
    while True:
        for index, share in shares:
            lock = FileLock(folder / f"vae-{os.getuid()}-{re.sub(r'[^A-Za-z0-9-]', '-', share)}.lock")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            try:
                yield index
            finally:
                lock.release()
            return
        if not waiting:
            log.info("all GPUs (%d) are taken by other jobs; waiting for one", len(gpus))
            waiting = True
        time.sleep(PAUSE)
