"""A Slurm cluster on this machine: a controller and two nodes with two fake GPUs each, on loopback, as root.

    python tests/slurm/cluster.py up     starts it, for trying things by hand
    python tests/slurm/cluster.py down   stops it

Slurm's clients find it through links in /etc/slurm: SLURM_CONF would not reach the steps inside jobs.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path(tempfile.gettempdir()) / "vae-slurm"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
NODES = ("node1", "node2")
ETC = Path("/etc/slurm")

CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge/socket
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort=16817
SrunPortRange=17000-17999
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmdPidFile={root}/run/slurmd.%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd.%n.log
PlugStackConfig={root}/plugstack.conf
MailProg=/bin/true
# Steps are known by their sessions, and memory is enforced by polling: no control groups are needed.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
TaskProlog={root}/prolog.sh
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={root}/log/jobs.log
SwitchType=switch/none
MpiDefault=none
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
ReturnToService=0
# How long squeue knows a job that has ended, in seconds.
MinJobAge=600
KillWait=2
CompleteWait=0
SlurmdTimeout=30
PartitionName=main Nodes=ALL Default=YES MaxTime=1-0 State=UP
"""
NODE = "NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=8000 Gres=gpu:2\n"
# What every task of a job sees of GPUs; and its session, by which what is left of it is found.
PROLOG = """\
#!/bin/sh
echo "$SLURM_JOB_ID ${{CUDA_VISIBLE_DEVICES-none}}" >>{root}/log/devices
ps -o sid= -p "$SLURM_TASK_PID" >>{root}/run/sessions
"""


def missing() -> str | None:
    """Why there can be no cluster here, None where there can."""
    if os.geteuid():
        return "a Slurm of one's own is started as root"
    if absent := [program for program in PROGRAMS if not shutil.which(program)]:
        return f"no {', '.join(absent)}; on Debian: apt-get install slurm-wlm slurm-wlm-basic-plugins munge"
    if theirs := [file for file in (ETC / "slurm.conf", ETC / "gres.conf") if file.exists() and not _ours(file)]:
        return f"{theirs[0]} belongs to another cluster"
    return None


def run(*command: str) -> str:
    """What a command prints; its own message is raised where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return done.stdout


def up() -> None:
    """Start the cluster, and wait until it answers and both nodes are idle."""
    down()
    shutil.rmtree(ROOT, ignore_errors=True)
    for folder in ("run", "log", "state", "spool", "dev"):
        (ROOT / folder).mkdir(parents=True)
    host = socket.gethostname().split(".")[0]
    _munge()
    nodes = [NODE.format(node=node, host=host, port=16818 + i) for i, node in enumerate(NODES)]
    (ROOT / "slurm.conf").write_text("".join(nodes) + CONF.format(root=ROOT, host=host))
    for i in range(2):  # like /dev/null
        os.mknod(ROOT / f"dev/nvidia{i}", 0o666 | 0o020000, os.makedev(1, 3))
    (ROOT / "gres.conf").write_text(f"Name=gpu File={ROOT}/dev/nvidia[0-1]\n")
    (ROOT / "plugstack.conf").touch()
    (ROOT / "prolog.sh").write_text(PROLOG.format(root=ROOT))
    (ROOT / "prolog.sh").chmod(0o755)
    ETC.mkdir(exist_ok=True)
    for name in ("slurm.conf", "gres.conf"):
        (ETC / name).unlink(missing_ok=True)
        (ETC / name).symlink_to(ROOT / name)
    run("slurmctld", "-c")
    for node in NODES:
        run("slurmd", "-N", node)
    until(lambda: run("sinfo", "-h", "-N", "-o", "%t").split() == ["idle"] * len(NODES), "nodes that are idle")
    run("srun", "-n1", "-t1", "true")


def _munge() -> None:
    (ROOT / "munge").mkdir(mode=0o711)
    key, munge = ROOT / "munge/key", f"{ROOT}/munge"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(1024))
    files = [
        f"--{name}={munge}/{file}" for name, file in (("key-file", "key"), ("socket", "socket"), ("seed-file", "seed"))
    ]
    run("munged", *files, f"--pid-file={ROOT}/run/munged.pid", f"--log-file={ROOT}/log/munged.log")


def down() -> None:
    """Stop the cluster's jobs and daemons, by the process ids that it noted, and nothing else."""
    if not (ROOT / "run").exists():
        return
    if _ours(ETC / "slurm.conf"):
        with suppress(RuntimeError, subprocess.TimeoutExpired):
            run("scancel", "--user=root")
            until(lambda: not run("squeue", "-h"), "an empty queue", 20)
    for file in sorted((ROOT / "run").glob("*.pid"), key=lambda file: file.name, reverse=True):  # munged last
        _stop(int(file.read_text()), file.name.split(".")[0])
    sessions = ROOT / "run/sessions"
    if sessions.exists():
        # What lost its parent when a node was set down: linuxproc does not find it.
        left = subprocess.run(["ps", "-o", "pid=", "-s", ",".join(sessions.read_text().split())], capture_output=True)
        for pid in left.stdout.split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    for name in ("slurm.conf", "gres.conf"):
        if _ours(ETC / name):
            (ETC / name).unlink()
    shutil.rmtree(ROOT)


def _stop(pid: int, program: str) -> None:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if process.name() == program:
            process.terminate()
            psutil.wait_procs([process], timeout=15)


def _ours(file: Path) -> bool:
    return file.is_symlink() and file.readlink() == ROOT / file.name


def until(condition, what: str, seconds: float = 60):
    """Wait for a condition, and return it."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            logs = "\n".join(file.read_text()[-2000:] for file in (ROOT / "log").glob("*ctld.log"))
            raise TimeoutError(f"no {what} after {seconds} s; {logs}")
        time.sleep(0.2)
    return value


def jobs() -> list[dict[str, str]]:
    """What the controller says of each job, by its own names, such as JobId, JobState, Comment, BatchHost."""
    lines = run("scontrol", "show", "job", "--oneliner").splitlines()
    return [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines if line.startswith("JobId=")]


if __name__ == "__main__":
    if reason := missing():
        sys.exit(reason)
    {"up": up, "down": down}[sys.argv[1]]()
