import os
import platform
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from select import select

import psutil
import pytest
import torch
from conftest import ROOT

from vae.errors import UserError
from vae.grid import Spec
from vae.training import devices, loop
from vae.training.gpu_lease import lease

HOLD = """
import sys, time
from pathlib import Path
from vae.training.gpu_lease import lease
with lease(sys.argv[2].split(","), int(sys.argv[3]), Path(sys.argv[1])) as index:
    print(index, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Start processes that each take a share of a GPU, and then print which."""
    started = []

    def start(gpus, jobs_per_gpu=1):
        arguments = [sys.executable, "-c", HOLD, str(tmp_path), ",".join(gpus), str(jobs_per_gpu)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        started.append(subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_jobs_spread_over_the_gpus_and_share_one_only_where_allowed(holder):
    gpus = ["GPU-a", "GPU-b"]
    assert [int(holder(gpus, 2).stdout.readline()) for _ in range(4)] == [0, 1, 0, 1]


def test_a_job_waits_until_the_holder_dies_however_it_dies(holder):
    first, second = holder(["GPU-a"]), holder(["GPU-a"])
    (holds,), _, _ = select([first.stdout, second.stdout], [], [], 60)
    waits = second if holds is first.stdout else first
    assert not select([waits.stdout], [], [], 0.5)[0]
    os.kill((first if waits is second else second).pid, signal.SIGKILL)
    assert waits.stdout.readline() == "0\n"


@pytest.mark.gpu
def test_a_job_waits_for_a_gpu_that_another_holds_by_its_uuid():
    program = """
import sys, torch
from vae.training import devices
with devices.leased(torch.device("cuda"), 1) as device:
    print(torch.ones(1, device=device).device, flush=True)
    sys.stdin.read()
"""
    with (
        subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True, cwd=ROOT) as first,
        subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True, cwd=ROOT) as second,
    ):
        (holds,), _, _ = select([first.stdout, second.stdout], [], [], 120)
        waits = second if holds is first.stdout else first
        assert holds.readline() == "cuda:0\n"
        assert not select([waits.stdout], [], [], 5)[0]
        (first if waits is second else second).stdin.close()
        assert waits.stdout.readline() == "cuda:0\n"
        waits.stdin.close()


def test_a_lease_ends_with_its_block(tmp_path):
    for _ in range(2):
        with lease(["GPU-a"], folder=tmp_path) as index:
            assert index == 0
    with pytest.raises(RuntimeError), lease(["GPU-a"], folder=tmp_path):
        raise RuntimeError
    with lease(["GPU-a"], folder=tmp_path):
        pass


def test_a_user_without_a_name_has_leases(tmp_path, nobody):
    with lease(["GPU-a"], folder=tmp_path) as index:
        assert index == 0


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.pick("auto") == torch.device("cpu")
    with pytest.raises(UserError, match="device: cuda is asked for"):
        devices.pick("cuda")


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="no /proc/cpuinfo here")
def test_a_cpu_is_called_by_the_name_of_its_processor():
    name = re.fullmatch(r"CPU \((.+)\)", devices.describe(torch.device("cpu")))[1]
    assert name == platform.machine() or name in Path("/proc/cpuinfo").read_text()


def test_a_cpu_needs_no_lease_and_knows_its_memory():
    cpu = torch.device("cpu")
    with devices.leased(cpu, 1) as device:
        assert device is cpu
    process = psutil.Process().memory_info().rss
    assert devices.peak_memory(cpu)["host"] > process / 2  # in bytes, not in KiB or MiB
    allocated = torch.ones(2**28)  # 1 GiB of float32
    assert devices.peak_memory(cpu)["host"] >= allocated.nbytes
    assert 0 < devices.free_memory(cpu) <= psutil.virtual_memory().total


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_precision_is_what_the_config_says_in_products_and_convolutions(arithmetic, precision):
    for backend in (torch.backends.cuda.matmul, torch.backends.cudnn):
        backend.allow_tf32 = precision != "tf32"
    arithmetic(precision)
    assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == (precision == "tf32")
    assert torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("label", ["L3_DNN2_DNN1", "L3_CNN2_CNN2", "L3_LIN_RES1"])
def test_bf16_is_another_arithmetic_and_near_to_fp32(images, recipe, label):
    spec, cpu = Spec.parse(label), torch.device("cpu")
    losses = {
        precision: loop.train(
            spec, 0, images[:500], replace(recipe, training=replace(recipe.training, precision=precision)), cpu
        ).history[-1]["loss"]
        for precision in ("fp32", "bf16")
    }
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.02)
