"""Numbered files `000001.jsonl` of a folder: every writer begins one of its own, none is ever reopened."""

from __future__ import annotations

import os
import re
from pathlib import Path

from raybench.store.files import storage_errors

_NAME = re.compile(r"(\d{6,})\.\w+")


def segments(folder: Path, suffix: str) -> list[Path]:
    """The segments with `suffix` (`.jsonl`) in the order they were begun; a folder that is missing has none."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.suffix == suffix and _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.stem))


def next_segment(folder: Path, suffix: str) -> Path:
    """The name after the last one."""
    last = segments(folder, suffix)
    return folder / f"{int(last[-1].stem) + 1 if last else 1:06d}{suffix}"


def create_segment(folder: Path, suffix: str) -> tuple[Path, int]:
    """Begin a new segment: its path and an open file descriptor to append to."""
    while True:
        path = next_segment(folder, suffix)
        with storage_errors(path):
            try:
                return path, os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            except FileExistsError:
                continue  # another process was faster
