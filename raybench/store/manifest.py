"""The manifest: what a run is, written once before it starts and never changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from raybench.core import schema
from raybench.core.errors import RunError
from raybench.core.fingerprint import digest
from raybench.store.home import FOLDER, Home
from raybench.store.json_files import to_json

FILE = "manifest.json"
_WIDTH = 120


def write_manifest(folder: Path, content: Mapping[str, Any], home: Home = FOLDER) -> bool:
    """Write the manifest of a run, unless there is one.

    Args:
        folder: The run directory.
        content: JSON values; stored beside the schema version and a digest, which tells editing by hand.
        home: Of the run.

    Returns:
        False when the run has a manifest already: compare with `differences`.
    """
    plain = json.loads(to_json(content))
    document = {"schema": schema.VERSION, "digest": digest(plain), "content": plain}
    return home.publish_exclusive(folder / FILE, to_json(document))


def read_manifest(folder: Path, name: str | None = None) -> dict[str, Any]:
    """The content that was written; `name` is what the user calls the folder.

    Raises:
        RunError: when there is none, when it is damaged or was edited, or when a newer raybench wrote it.
    """
    path = folder / FILE
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunError(f"{name or folder}: this is no run directory: {_found_instead(folder)}") from error
    except (OSError, ValueError) as error:
        raise _damaged(path, f"it cannot be read as JSON ({error})") from error
    if not isinstance(document, dict) or not isinstance(document.get("schema"), int):
        raise _damaged(path, "there is no schema version in it")
    if document["schema"] > schema.VERSION:
        raise RunError(
            f"{path}: written by a newer raybench: schema version {document['schema']}, this one reads up to {schema.VERSION}."
            " Install that version, or start afresh with --new."
        )
    content = document.get("content")
    if not isinstance(content, dict) or digest(content) != document.get("digest"):
        raise _damaged(path, "its content does not have the digest it was written with")
    return content


def _found_instead(folder: Path) -> str:
    """What is there in place of a run, and what is meant instead."""
    expected = "Expected the folder that `raybench run` wrote."
    if folder.is_file():
        return f"it is a file. {expected}"
    if not folder.is_dir():
        return f"there is no such folder. {expected}"
    runs = sorted(path.parent.name for path in folder.glob(f"*/{FILE}"))
    shown = f"{', '.join(runs[:5])}{' and others' if len(runs) > 5 else ''}"
    return f"there is no {FILE}. {f'It holds runs: {shown}; name one of them.' if runs else expected}"


def _damaged(path: Path, found: str) -> RunError:
    return RunError(
        f"{path}: damaged or edited by hand: {found}. A manifest never changes: restore the file,"
        " or start afresh with --new (and --reuse for the shards of this run)."
    )


def models_of(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the models of a run, in the order of its configuration; those that failed are among them."""
    return tuple(model["name"] for model in manifest["plan"]["models"])


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Where two manifests differ, one line `path: old -> new` each, in the order of the paths.

    Paths read like `models[2].engine.dtype`; what is on one side only is shown as `(absent)`.
    """
    return list(_differences("", json.loads(to_json(old)), json.loads(to_json(new))))


def _differences(path: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            inner = f"{path}.{key}" if path else key
            yield from _pair(inner, key in old, old.get(key), key in new, new.get(key))
    elif _is_list(old) and _is_list(new):
        for index in range(max(len(old), len(new))):
            in_old, in_new = index < len(old), index < len(new)
            yield from _pair(f"{path}[{index}]", in_old, old[index] if in_old else None, in_new, new[index] if in_new else None)
    elif type(old) is not type(new) or old != new:
        yield f"{path}: {_shown(old)} -> {_shown(new)}"


def _pair(path: str, in_old: bool, old: Any, in_new: bool, new: Any) -> Iterator[str]:
    if in_old and in_new:
        yield from _differences(path, old, new)
    else:
        yield f"{path}: {_shown(old) if in_old else '(absent)'} -> {_shown(new) if in_new else '(absent)'}"


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}… ({len(text)} characters)"
