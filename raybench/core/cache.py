"""The one place that says where raybench keeps what can be computed again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def cache_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Where raybench keeps what can be computed again: RAYBENCH_CACHE_DIR, otherwise ~/.cache/raybench."""
    configured = (os.environ if environ is None else environ).get("RAYBENCH_CACHE_DIR")
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "raybench"
