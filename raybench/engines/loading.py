"""What a checkpoint folder holds, read from its files alone: no torch, no code of the checkpoint, nothing fetched."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from raybench.core.errors import CheckpointError
from raybench.core.fingerprint import digest

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tekken.json")
"""Any one of these makes a tokenizer."""

_TOKENIZER_STATE = (
    *TOKENIZER_FILES,
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
_VOLATILE = frozenset({"transformers_version", "_name_or_path", "_model_name_or_path", "torch_dtype", "dtype"})
_POINTER = b"version https://git-lfs"
_MAX_HEADER = 100_000_000  # the limit of the safetensors format


def check_folder(path: str | Path, *, allow_pickle: bool = False, trust_remote_code: bool = False) -> None:
    """Refuse a folder that cannot be loaded, or not safely, before any library opens it.

    Raises:
        CheckpointError: names the file: config.json missing or without model_type; code of the checkpoint without consent; no weights, or
            pickled ones without consent; a Git-LFS pointer; a truncated safetensors file; an index that names missing files.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder. Expected a checkpoint folder with config.json, weights and tokenizer.")
    _check_code(folder, read_config(folder), trust_remote_code=trust_remote_code)
    for file in weight_files(folder, allow_pickle=allow_pickle):
        _check_pointer(file)
        if file.suffix == ".safetensors":
            check_safetensors(file)
    for name in TOKENIZER_FILES:
        if (folder / name).is_file():
            _check_pointer(folder / name)


def read_config(folder: Path) -> dict[str, Any]:
    """The content of config.json.

    Raises:
        CheckpointError: when it is missing, no JSON object, or without `model_type`.
    """
    file = folder / "config.json"
    if not file.is_file():
        hint = (
            " The folder holds an adapter only: merge it into its base model first." if (folder / "adapter_config.json").is_file() else ""
        )
        raise CheckpointError(f"{folder}: config.json is missing. Expected a folder as save_pretrained writes it.{hint}")
    _check_pointer(file)
    config = _read_json(file)
    if not isinstance(config.get("model_type"), str):
        raise CheckpointError(
            f"{file}: no 'model_type'. Expected the configuration of a transformers model; add the key, such as \"llama\"."
        )
    return config


def weight_files(folder: Path, *, allow_pickle: bool = False) -> list[Path]:
    """The files that hold the weights, in name order: safetensors where there are any, otherwise pickled ones if allowed.

    Raises:
        CheckpointError: when there are none, only pickled ones without consent, or the index names files that do not exist.
    """
    for pattern, index in (("*.safetensors", "model.safetensors.index.json"), ("*.bin", "pytorch_model.bin.index.json")):
        if (folder / index).is_file():
            names = sorted(set(_read_json(folder / index).get("weight_map", {}).values()))
            missing = [n for n in names if not (folder / n).is_file()]
            if missing:
                raise CheckpointError(
                    f"{folder / index}: names {len(missing)} of {len(names)} files that do not exist: {', '.join(missing[:5])}. Copy the whole folder."
                )
            found = [folder / n for n in names]
        else:
            found = sorted(f for f in folder.glob(pattern) if f.name not in ("training_args.bin", "optimizer.bin", "scheduler.bin"))
        if pattern == "*.safetensors" and found:
            return found
    pickled = found or sorted(folder.glob("*.pt")) + sorted(folder.glob("*.pth"))
    if not pickled:
        raise CheckpointError(f"{folder}: no weights. Expected *.safetensors beside config.json.")
    if not allow_pickle:
        raise CheckpointError(
            f"{folder}: the weights are pickled ({', '.join(f.name for f in pickled[:3])}), and unpickling can run code. "
            "Convert them to safetensors, or consent with `allow_pickle: true` on this model."
        )
    return pickled


def check_safetensors(file: Path) -> None:
    """Compare the header of a safetensors file with the size of the file.

    Layout (github.com/huggingface/safetensors, README): 8 bytes little-endian header length, JSON header, tensor bytes.

    Raises:
        CheckpointError: when the file is shorter or longer than its header says, or the header is unreadable.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= _MAX_HEADER:
            raise CheckpointError(f"{file}: no safetensors file: {size} bytes, header length {length}. Copy it again.")
        raw = stream.read(length)
    if len(raw) < length:
        raise CheckpointError(f"{file}: truncated inside its header: {size} bytes, the header alone has {length}. Copy it again.")
    try:
        header = json.loads(raw)
        end = max((int(t["data_offsets"][1]) for name, t in header.items() if name != "__metadata__"), default=0)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{file}: the safetensors header is damaged: {error}. Copy it again.") from error
    if size != 8 + length + end:
        word = "truncated" if size < 8 + length + end else "longer than its header says"
        raise CheckpointError(
            f"{file}: {word}: {size} bytes, expected 8 + {length} (header) + {end} (tensors) = {8 + length + end}. Copy it again."
        )


def has_tokenizer(folder: Path) -> bool:
    """Whether the folder holds the files of a tokenizer."""
    return any((folder / name).is_file() for name in TOKENIZER_FILES)


def has_chat_template(path: str | Path) -> bool | None:
    """Whether the tokenizer in a checkpoint folder, or the GGUF file, carries a chat template; None: nothing there to tell by."""
    place = Path(path)
    if place.suffix == ".gguf" and place.is_file():
        from gguf import GGUFReader

        return "tokenizer.chat_template" in GGUFReader(place).fields
    if (place / "chat_template.jinja").is_file() or (place / "chat_template.json").is_file():
        return True
    if (place / "tokenizer_config.json").is_file():
        return bool(_read_json(place / "tokenizer_config.json").get("chat_template"))
    return False if place.is_dir() and has_tokenizer(place) else None


def eos_ids(folder: Path) -> frozenset[int]:
    """The tokens that end an answer by the files of the checkpoint: generation_config.json, or config.json where there is none."""
    for name in ("generation_config.json", "config.json"):
        if (folder / name).is_file():
            found = _read_json(folder / name).get("eos_token_id")
            return frozenset([found] if isinstance(found, int) else found or [])
    return frozenset()


def layout_digest(folder: Path, tokenizer: Path) -> str:
    """Equal for checkpoints whose weights can take each other's place: same configuration, same tokenizer files."""
    config = {k: v for k, v in read_config(folder).items() if k not in _VOLATILE}
    files = [tokenizer / name for name in _TOKENIZER_STATE]
    return digest(config, {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files if f.is_file()})


def _check_code(folder: Path, config: dict[str, Any], *, trust_remote_code: bool) -> None:
    if trust_remote_code:
        return
    code = sorted(f.name for f in folder.glob("*.py"))
    if code or "auto_map" in config:
        found = ", ".join(code[:3]) if code else "'auto_map' in config.json"
        raise CheckpointError(
            f"{folder}: the checkpoint brings its own Python code ({found}). Read it, then consent with `trust_remote_code: true` on this model, or remove it if the architecture is part of transformers."
        )


def _check_pointer(file: Path) -> None:
    with file.open("rb") as stream:
        if stream.read(len(_POINTER)) == _POINTER:
            raise CheckpointError(
                f"{file}: a Git-LFS pointer of {file.stat().st_size} bytes, not the file itself. Run `git lfs pull` in the folder."
            )


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_bytes())
    except ValueError as error:
        raise CheckpointError(f"{file}: no JSON: {error}. Copy it again.") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{file}: expected a JSON object, found {type(value).__name__}.")
    return value
