"""Which tasks, groups and tags the harness knows. Reading its 13,000 task files takes it 7 to 17 seconds: that is done once and kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from raybench.core.cache import cache_folder
from raybench.core.errors import ConfigError
from raybench.core.fingerprint import digest
from raybench.tasks.harness.door import PREFIX, check_installed, quietly, version


def read_index(include_path: Sequence[str]) -> dict[str, Any]:
    """The harness's index: name to its `Entry`. Its own tasks come from a file in the cache folder, those of `include_path` are read every time.

    Raises:
        ConfigError: when a folder of `include_path` is none.
    """
    from lm_eval import tasks
    from lm_eval.tasks._index import TaskIndex

    missing = [path for path in include_path if not Path(path).expanduser().is_dir()]
    if missing:
        raise ConfigError(f"lm_eval.include_path: {', '.join(missing)}: no such folder. Expected folders with task files (.yaml).")
    home = Path(tasks.__file__).parent
    with quietly():
        index = dict(_own(home))
        if include_path:
            index |= TaskIndex.build([Path(path).expanduser() for path in include_path])
    return index


def harness_names() -> dict[str, tuple[str, str]]:
    """The names of the harness's own tasks, groups and tags, with the prefix, to what each is and its file, relative to the harness's folder.

    Raises:
        ConfigError: when the harness is not installed.
    """
    check_installed()
    from lm_eval import tasks

    home = Path(tasks.__file__).parent
    return {
        PREFIX + name: (
            f"tag of {len(entry.tags)}" if entry.kind.name == "TAG" else "group" if entry.kind.name == "GROUP" else "task",
            "" if entry.yaml_path is None else str(entry.yaml_path.relative_to(home)),
        )
        for name, entry in sorted(read_index(()).items())
    }


@lru_cache(maxsize=1)
def _own(home: Path) -> dict[str, Any]:
    """The index of the harness's own folder."""
    from lm_eval.tasks._index import Entry, Kind, TaskIndex

    state = [(str(p.relative_to(home)), p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(home.rglob("*.yaml"))]
    file = cache_folder() / "lm-eval-index" / f"{digest(version(), str(home), state)}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):  # none yet, or not one of ours: it is made anew
        rows = json.loads(file.read_text())
        return {n: Entry(n, Kind[kind], None if path is None else home / path, None, set(tags)) for n, (kind, path, tags) in rows.items()}
    index: dict[str, Any] = TaskIndex.build([home])
    rows = {
        name: (e.kind.name, None if e.yaml_path is None else str(e.yaml_path.relative_to(home)), sorted(e.tags))
        for name, e in index.items()
    }
    with suppress(OSError):  # a cache that cannot be written is none
        file.parent.mkdir(parents=True, exist_ok=True)
        temp = file.with_suffix(f".{id(rows)}.tmp")
        temp.write_text(json.dumps(rows))
        temp.replace(file)
    return index
