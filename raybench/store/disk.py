"""Whether the disk has room for a run, asked before it starts."""

from __future__ import annotations

from pathlib import Path

from raybench.core.errors import StorageError
from raybench.store.files import free_bytes


def require_space(path: Path, num_bytes: int, purpose: str) -> None:
    """Refuse to start what would fill the disk.

    Args:
        path: Where it will be written; need not exist yet.
        num_bytes: An estimate of what it needs.
        purpose: What needs it, for the message: `prompts of 3 tasks`.

    Raises:
        StorageError: when less is free.
    """
    free = free_bytes(path)
    if free < num_bytes:
        raise StorageError(
            f"{path}: {purpose} need about {num_bytes:,} bytes, {free:,} bytes are free there. Make room, or write elsewhere with --output."
        )
