"""Checkpoints of an object store on a machine's own disk: brought once, however many processes of the machine ask.

    <cache>/checkpoints/<name>-<digest>/        the files, whole: the folder is renamed when all are there
    <cache>/checkpoints/<name>-<digest>.lock    held while they are brought; the system drops it with its holder

The digest in the name is that of the objects' names, sizes and tags, so that a checkpoint that was overwritten gets a folder of its own.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from raybench.core.cache import cache_folder
from raybench.core.checkpoint import slug
from raybench.core.errors import CheckpointError, EngineError
from raybench.core.fingerprint import digest
from raybench.store.checkpoint_files import checkpoint_identity, is_checkpoint_file
from raybench.store.files import free_bytes, make_folder, temp_path
from raybench.store.objects import Objects

FILES = (".gguf", ".safetensors", ".pt", ".pth")
"""Endings of URIs that name one file, not a folder."""


def stage(uri: str, *, expected: str | None = None) -> tuple[Path, str]:
    """Have a checkpoint on this machine.

    Args:
        uri: s3://bucket/folder, or a single file there.
        expected: The digest that the driver found; None for the driver.

    Returns:
        The folder or file here, and the digest of its content (`checkpoint_identity`).

    Raises:
        CheckpointError: when there is none, or it is another one than the driver has seen.
        EngineError: when the disk of this machine has no room for it.
    """
    parent, _, name = uri.rstrip("/").rpartition("/")
    is_file = name.endswith(FILES)
    objects = Objects(parent if is_file else uri)
    details = objects.details()
    wanted = {n: d for n, d in details.items() if (n == name if is_file else is_checkpoint_file(PurePosixPath(n)))}
    if not wanted:
        raise CheckpointError(
            f"checkpoint {uri}: expected config.json, weights and a tokenizer, found none of them among {len(details)} objects."
        )
    folder = cache_folder() / "checkpoints" / f"{slug(name)}-{digest(uri, sorted(wanted.items()))[:16]}"
    path = folder / name if is_file else folder
    make_folder(folder.parent)
    with _locked(folder.with_name(f"{folder.name}.lock")):
        if not folder.is_dir():
            _bring(objects, {n: size for n, (size, _) in wanted.items()}, folder)
        found = checkpoint_identity(path)
        if expected not in (None, found):
            shutil.rmtree(folder)  # it is brought anew the next time
            raise CheckpointError(
                f"checkpoint {uri}: on node {platform.node()} its files have the digest {found}, where the driver runs {expected}: it was overwritten "
                "since the run began, or damaged on the way. Run the same command again."
            )
    return path, found


def _bring(objects: Objects, sizes: Mapping[str, int], folder: Path) -> None:
    needed, free = sum(sizes.values()), free_bytes(folder)
    if free < needed:
        raise EngineError(
            f"node {platform.node()}: checkpoint {objects.uri} needs {needed:,} bytes in {folder.parent}, {free:,} are free there. "
            "Make room, or set RAYBENCH_CACHE_DIR on the node to a larger disk."
        )
    temp = temp_path(folder)
    try:
        objects.get({name: temp / name for name in sizes})
        os.rename(temp, folder)
    finally:
        shutil.rmtree(temp, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
