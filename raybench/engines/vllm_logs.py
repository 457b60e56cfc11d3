"""The log of a live vLLM: a folder that goes with its engine, also when its process was killed."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from pathlib import Path

_LINES = 12


class LogFolder:
    """A folder in the temporary directory, locked while this process lives; those of processes that were killed are removed by the next one."""

    def __init__(self) -> None:
        """Make the folder, and remove what others have left."""
        root, prefix = Path(tempfile.gettempdir()), f"raybench-vllm-{os.getuid()}-"
        with open(root / f"{prefix}lock", "w") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)  # a folder that was just made and is not locked yet is nobody's leftover
            for folder in root.glob(f"{prefix}*/"):
                _remove_left(folder)
            self.path = Path(tempfile.mkdtemp(prefix=prefix))
            """Of the log and its configuration."""
            self._lock = open(self.path / "lock", "w")  # noqa: SIM115 - open as long as the folder lives
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    @property
    def log(self) -> Path:
        """Where the processes of the engine write."""
        return self.path / "engine.log"

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _remove_left(folder: Path) -> None:
    """Remove a folder whose process is gone: the system has taken its lock back."""
    try:
        with open(folder / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        pass  # its process lives


def write_log_config(folder: LogFolder) -> Path:
    """A logging configuration by which all processes of an engine write to the log of `folder`, not to the terminal."""
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"plain": {"format": "%(levelname)s %(asctime)s %(processName)s: %(message)s"}},
        "handlers": {"file": {"class": "logging.FileHandler", "filename": str(folder.log), "formatter": "plain"}},
        "loggers": {"vllm": {"handlers": ["file"], "level": "INFO", "propagate": False}},
    }
    path = folder.path / "logging.json"
    path.write_text(json.dumps(config))
    return path


def tail_of(log: Path) -> str:
    """The last lines of an engine's log on one line, errors first where there are any."""
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return "(none)"
    errors = [line for line in lines if "Error" in line and not line.startswith(("File", "INFO"))]
    return " | ".join([*errors[-2:], *lines[-_LINES:]])[-2000:] or "(empty)"
