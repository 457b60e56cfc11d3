"""The harness's data sets: the `data:` map of the configuration applies to them, and what was read is named by its content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from raybench.core.errors import DataError
from raybench.core.fingerprint import digest
from raybench.core.task_config import DataConfig
from raybench.tasks.locate import format_of, is_local, resolve
from raybench.tasks.source import identity
from raybench.tasks.task import Source

_READERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}
"""Suffix to the module of `datasets` that reads such a file."""


@contextmanager
def redirected(data: Mapping[str, DataConfig]) -> Iterator[list[str]]:
    """While it lasts, `datasets.load_dataset` looks into the `data:` map first, as the harness's tasks and their own code call it.

    Gives the identities of what was loaded, in order: sha256 of files, or hub id with its commit.
    """
    import datasets

    seen: list[str] = []
    original = datasets.load_dataset

    def load(path: str, name: str | None = None, **options: Any) -> Any:
        mapped = data.get(f"{path}:{name}") or data.get(path)
        if mapped is None:
            loaded = _ours(original(path, name, **options))
            seen.append(_named(path, name, options, loaded))
            return loaded
        splits = _mapped_splits(path, name, mapped, data, original, seen)
        return splits if options.get("split") is None else splits[str(options["split"])]

    datasets.load_dataset = load
    had_bars = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()  # they would run through the progress of the run
    try:
        yield seen
    finally:
        datasets.load_dataset = original
        if had_bars:
            datasets.enable_progress_bars()


def _mapped_splits(path: str, name: str | None, mapped: DataConfig, data: Mapping[str, DataConfig], load: Any, seen: list[str]) -> Any:
    """A DatasetDict whose splits are read when they are asked for: a map names no splits."""
    import datasets

    class Splits(datasets.DatasetDict):  # type: ignore[misc]  # datasets has no types
        def __missing__(self, split: str) -> Any:
            located = resolve(Source(path=path, config=name, split=str(split)), data)
            seen.append(f"{split}={identity(located)}")
            if located.hub is not None:
                rows = load(located.hub, located.config, split=located.split, revision=located.revision)
            else:
                reader = _READERS[str(format_of(located.files[0]))]
                options = {"delimiter": "\t"} if reader == "csv" and ".tsv" in located.files[0].name else {}
                rows = load(reader, data_files={"train": [str(f) for f in located.files]}, split="train", **options)
            if located.where:
                missing = [column for column, _ in located.where if column not in rows.column_names]
                if missing:
                    raise DataError(f"{located.place}: no column '{missing[0]}' to filter by. Columns: {', '.join(rows.column_names)}.")
                rows = rows.filter(lambda row: all(row[column] == value for column, value in located.where))
            self[str(split)] = _ours(rows.rename_columns(dict(located.rename)) if located.rename else rows)
            return self[str(split)]

        def __contains__(self, split: object) -> bool:
            if super().__contains__(split):
                return True
            try:
                resolve(Source(path=path, config=name, split=str(split)), data)
            except DataError:
                return False
            return True

    return Splits()


def _ours(loaded: Any) -> Any:
    """Data under fingerprints of ours: what lm_eval has made of the same rows is kept by `datasets` on disk, perhaps shuffled after another seed."""
    for part in loaded.values() if isinstance(loaded, Mapping) else [loaded]:
        if hasattr(part, "_fingerprint"):  # streams have none
            part._fingerprint = digest("raybench", part._fingerprint)
    return loaded


def _named(path: str, name: str | None, options: Mapping[str, Any], loaded: Any) -> str:
    """What was loaded: local files by their content, hub files by the commit that stands in their addresses, others by name alone."""
    given = options.get("data_files")
    files = sorted(str(f) for f in _flat(given))
    if files and all(is_local(f) and Path(f).is_file() for f in files):
        return f"sha256:{digest([hashlib.sha256(Path(f).read_bytes()).hexdigest() for f in files])}"
    parts = loaded.values() if hasattr(loaded, "values") else [loaded]
    sources = sorted({address for part in parts for address in (getattr(part.info, "download_checksums", None) or {})})
    return f"hub:{path}:{name or 'default'}" + (f":{digest(sources)[:12]}" if sources else "")


def _flat(files: Any) -> Iterable[Any]:
    if isinstance(files, Mapping):
        return [f for value in files.values() for f in _flat(value)]
    return [f for value in files for f in _flat(value)] if isinstance(files, list | tuple) else [files] if files else []
