"""A GGUF file as an ordinary checkpoint folder: converted once per machine, then reused by every engine."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path

from raybench.core.cache import cache_folder
from raybench.core.checkpoint import Checkpoint, slug
from raybench.core.errors import CheckpointError
from raybench.core.fingerprint import digest


def _folder(checkpoint: Checkpoint, file: Path) -> Path:
    stat = file.stat()
    name = slug(checkpoint.identity or digest(str(file.resolve()), stat.st_size, stat.st_mtime_ns))
    return cache_folder() / "converted" / name


def converted_before(checkpoint: Checkpoint) -> Path | None:
    """The folder of a GGUF file that was converted on this machine already; None otherwise, and for other checkpoints."""
    file = Path(checkpoint.path or checkpoint.uri)
    if file.suffix != ".gguf" or not file.is_file():
        return None
    folder = _folder(checkpoint, file)
    return folder if folder.is_dir() else None


def check_gguf(file: Path) -> None:
    """Refuse a GGUF file that is cut off or none at all; reads its header and the borders of its tensors.

    Raises:
        CheckpointError: says what was found.
    """
    from gguf import GGUFReader

    try:
        GGUFReader(file)
    except (OSError, ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
        raise CheckpointError(
            f"{file}: no whole GGUF file ({file.stat().st_size} bytes): {str(error).rstrip('.')}. Copy it again."
        ) from error


def converted(checkpoint: Checkpoint) -> Path:
    """Folder with the dequantised float32 weights, configuration and tokenizer of the GGUF file `checkpoint.path`.

    The first caller on a machine converts it (about 20 s for 135 M parameters) while others wait for the lock; later ones find the folder.
    It appears by a rename, so an interrupted conversion leaves no half folder.

    Raises:
        CheckpointError: when the file is missing, damaged, or of an architecture that transformers cannot read from GGUF.
    """
    file = Path(checkpoint.path or checkpoint.uri)
    if not file.is_file():
        raise CheckpointError(f"{file}: no such GGUF file.")
    with file.open("rb") as stream:
        magic = stream.read(4)
    if magic != b"GGUF":
        raise CheckpointError(f"{file}: begins with {magic!r}, expected b'GGUF'. It is damaged, or a Git-LFS pointer; copy it again.")
    folder = _folder(checkpoint, file)
    name = folder.name
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(f"{name}.lock")):
        if folder.is_dir():  # another process was faster
            return folder
        for dead in folder.parent.glob(f".{name}-*"):  # of a conversion that was killed: we hold its lock
            shutil.rmtree(dead, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
        work.chmod(0o755)
        try:
            _convert(file, work)
            os.rename(work, folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return folder


def _convert(file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with redirect_stderr(StringIO()):  # its progress bar has no switch of its own
            model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError, IndexError, TypeError, NotImplementedError) as error:
        raise CheckpointError(f"{file}: transformers cannot read this GGUF file: {error}") from error
    # from_pretrained marks the model as quantized, and save_pretrained would refuse; the weights are plain float32 by now
    for holder in (model, model.config):
        if hasattr(holder, "quantization_config"):
            delattr(holder, "quantization_config")
    model.hf_quantizer = None
    model.is_quantized = False
    model.config.dtype = torch.float32
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # freed when the process ends, however it ends
        yield
