"""A real Slurm on this machine: one controller and two nodes of one CPU each, started and ended by the test.

Debian's build allows several slurmd on one host. Without systemd nothing is started at installation, and munge's folder is missing.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.launch.heads import free_ports

CONF = """\
ClusterName=raybench
AuthType=auth/munge
SlurmUser=root
SlurmdUser=root
SlurmctldHost={host}
SlurmctldPort={controller}
SlurmctldPidFile={folder}/ctld.pid
SlurmctldLogFile={folder}/ctld.log
StateSaveLocation={folder}/ctld
SlurmdSpoolDir={folder}/d-%n
SlurmdPidFile={folder}/d-%n.pid
SlurmdLogFile={folder}/d-%n.log
ReturnToService=2
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
KillWait=10
MinJobAge=30
FirstJobId={first_job}
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{second}] CPUs=1 RealMemory=2000 State=UNKNOWN
PartitionName=ci Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP
"""


def need_slurm() -> None:
    """Skip where Slurm cannot be started; in CI its packages are installed (.ci/packages.txt)."""
    lacking = [
        name for name in ("slurmctld", "slurmd", "sbatch", "munged") if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None
    ]
    reason = f"not installed: {', '.join(lacking)}" if lacking else "" if os.geteuid() == 0 else "Slurm's nodes are started by root alone"
    if not reason:
        return
    if os.environ.get("CI") and lacking:
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def slurm() -> Iterator[dict[str, str]]:
    """Variables that clients need; the cluster is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="slurm"))
    (folder / "ctld").mkdir()
    host = socket.gethostname().partition(".")[0]
    controller, first = free_ports(2)
    while first + 1 == controller or not _is_free(first + 1):  # the nodes' ports are a range
        controller, first = free_ports(2)
    first_job = secrets.randbelow(1_000_000) + 1  # ports follow from it: two of these clusters on one machine must not meet
    (folder / "slurm.conf").write_text(
        CONF.format(folder=folder, host=host, controller=controller, first=first, second=first + 1, first_job=first_job)
    )
    environ = {"SLURM_CONF": str(folder / "slurm.conf")}
    own = {**os.environ, **environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    munge = _start_munge(folder, own)
    try:
        subprocess.run(["slurmctld", "-f", own["SLURM_CONF"]], env=own, check=True, timeout=60)
        for node in ("n1", "n2"):
            subprocess.run(["slurmd", "-f", own["SLURM_CONF"], "-N", node], env=own, check=True, timeout=60)
        deadline = time.monotonic() + 60
        while True:
            states = subprocess.run(
                ["sinfo", "--noheader", "--Node", "--format=%t"], env=own, capture_output=True, text=True, check=False
            ).stdout
            if states.split() == ["idle", "idle"]:
                break
            assert time.monotonic() < deadline, states + (folder / "ctld.log").read_text()[-3000:]
            threading.Event().wait(0.2)
        yield environ
    finally:
        subprocess.run(["scancel", "--user=root"], env=own, check=False, timeout=60)
        for name in ("d-n1.pid", "d-n2.pid", "ctld.pid"):
            _end(folder / name)
        if munge is not None:
            _end(munge)
        shutil.rmtree(folder, ignore_errors=True)


def _start_munge(folder: Path, own: dict[str, str]) -> Path | None:
    """Start munged unless it runs; its pid file, if it is ours to end."""
    works = "munge -n 2>/dev/null | unmunge > /dev/null 2>&1"
    if subprocess.run(works, shell=True, env=own, check=False).returncode == 0:
        return None
    run = Path("/run/munge")
    run.mkdir(mode=0o755, exist_ok=True)
    shutil.chown(run, "munge", "munge")
    subprocess.run(["runuser", "-u", "munge", "--", "munged"], env=own, check=True, timeout=30, cwd="/")
    subprocess.run(works, shell=True, env=own, check=True, timeout=30)
    return run / "munged.pid"


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _end(pid_file: Path) -> None:
    with suppress(OSError, ValueError, psutil.NoSuchProcess):
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            threading.Event().wait(0.05)
