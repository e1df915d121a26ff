"""The device that a job trains on: its name, its memory and its arithmetic."""

import os
import platform
import re
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import torch

from vae.errors import UserError
from vae.training.gpu_lease import lease


def pick(name: str) -> torch.device:
    """The device for `auto`, `cpu` or `cuda`; UserError for a GPU that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda is asked for, and torch sees no GPU; set device to auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


@contextmanager
def leased(device: torch.device, jobs_per_gpu: int) -> Iterator[torch.device]:
    """A CPU as it is; for `cuda` the one GPU, of those that CUDA_VISIBLE_DEVICES leaves, that this job has leased."""
    if device.type == "cpu":
        yield device
        return
    gpus = [str(torch.cuda.get_device_properties(index).uuid) for index in range(torch.cuda.device_count())]
    with lease(gpus, jobs_per_gpu) as index:
        torch.cuda.set_device(index)
        yield torch.device("cuda", index)


def describe(device: torch.device) -> str:
    """The name of the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({processor()})"


def processor() -> str:
    """The name of the processor where Linux has it, and else its architecture."""
    with suppress(OSError):
        if named := re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()):
            return named[1]
    return platform.processor() or platform.machine()


def free_memory(device: torch.device) -> int:
    """Bytes that can still be taken on the device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free
    return psutil.virtual_memory().available


def peak_memory(device: torch.device) -> dict[str, int]:
    """The most bytes that this process has taken so far, on the host and, where it uses one, on the GPU."""
    unit = 1 if sys.platform == "darwin" else 1024
    host = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    return host | ({"gpu": torch.cuda.max_memory_allocated(device)} if device.type == "cuda" else {})


def set_arithmetic(precision: str) -> None:
    """Have this process compute deterministically, and products in the `precision` of the config.

    `fp32` is IEEE single precision, also in convolutions, where torch's own default on a GPU is tf32. `bf16` is
    switched on by the training itself, around its forward passes.
    """
    # cuBLAS needs this to repeat itself, before its first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # torch's module replaces its class at run time, which a type checker does not follow.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    # Not by the newer `fp32_precision`: torch's own code still reads these switches, and refuses a mix of both.
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
