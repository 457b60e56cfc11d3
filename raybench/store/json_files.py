"""JSON documents of a run: state, results and the like, in one canonical form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raybench.core.errors import InternalError, RunError
from raybench.store.files import replace


def to_json(value: Any) -> bytes:
    """Sorted keys, one space of indentation, a newline at the end: equal values give equal bytes.

    Raises:
        InternalError: for NaN, infinity and anything that is not JSON.
    """
    try:
        return (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise InternalError(f"a document of the run cannot be written as JSON: {error}.") from error


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write or replace a document.

    Raises:
        StorageError: when the disk refuses.
    """
    replace(path, to_json(value))


def read_json(path: Path, run: str | None = None) -> dict[str, Any]:
    """Read a document of a run, by the name that the user calls it.

    Raises:
        RunError: when it is missing, not JSON, or not an object.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise RunError(f"{path}: there is no such file. Is the run finished? `raybench status {run or path.parent}` tells.") from error
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: expected a JSON document, found {_what(error)}. Delete it and run the same command again.") from error
    if not isinstance(value, dict):
        raise RunError(f"{path}: expected a JSON object, found {type(value).__name__}. Delete it and run the same command again.")
    return value


def _what(error: Exception) -> str:
    return f"text that is not JSON ({error})" if isinstance(error, ValueError) else f"a file that cannot be read ({error})"
