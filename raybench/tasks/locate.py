"""Where the rows of a task lie: a source and the `data:` map of the configuration become files or a pinned hub data set."""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from raybench.core.checkpoint import package_parts
from raybench.core.errors import DataError
from raybench.core.task_config import DataConfig
from raybench.tasks.task import Source

FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".conll", ".bio", ".iob2", ".parquet")
"""Suffixes of data files; all but .parquet may also end in .gz."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A data set on this machine or a pinned one on the hub: exactly one of `files` and `hub` is set."""

    files: tuple[Path, ...] = ()
    """Data files, in order; row numbers go on from one to the next."""
    hub: str | None = None
    """Hub id."""
    config: str | None = None
    """Configuration name of the hub data set."""
    split: str = "test"
    """Split that was asked for."""
    revision: str | None = None
    """Commit of the hub data set, 40 hexadecimal digits."""
    rename: tuple[tuple[str, str], ...] = ()
    """Pairs: column in the data, name that the task expects."""
    where: tuple[tuple[str, str | int], ...] = ()
    """Pairs: column in the data, value it must have."""

    @property
    def place(self) -> str:
        """For messages."""
        if self.hub is None:
            return ", ".join(map(str, self.files))
        return f"{self.hub}@{self.revision}{f' ({self.config})' if self.config else ''}"


def resolve(source: Source, data: Mapping[str, DataConfig]) -> Located:
    """Decide which files, or which hub data set, a source means. Looks into folders, reads no data.

    Args:
        source: What the task says.
        data: The `data:` map of the configuration; keys are `hub id:config` or `hub id`, the first one wins.

    Raises:
        DataError: when a file or split is missing, or a hub id is neither pinned nor mapped.
    """
    mapped = data.get(f"{source.path}:{source.config}") or data.get(source.path)
    if mapped is None:
        where = tuple(source.where.items())
        if not is_local(source.path):
            return _on_hub(source.path, source, source.revision, where=where)
        files = _files(_local(source.path), source, source.splits, is_mapped=False)
        return Located(files=files, split=source.split, where=where)
    # the task names columns as it expects them; the filter is applied to the columns as they are in the file
    here = {expected: column for column, expected in mapped.rename.items()}
    where = (*mapped.where.items(), *((here.get(column, column), value) for column, value in source.where.items()))
    rename = tuple(mapped.rename.items())
    if not is_local(mapped.path):
        return _on_hub(mapped.path, source, mapped.revision, where=where, rename=rename)
    files = _files(_local(mapped.path), source, mapped.splits, is_mapped=True)
    return Located(files=files, split=source.split, rename=rename, where=where)


def is_local(path: str) -> bool:
    """Whether `path` means a place on this machine: by its form, or because there is something of this name."""
    return (
        path.startswith(("package://", ".", "/", "~")) or format_of(path) is not None or not HUB_ID.fullmatch(path) or Path(path).exists()
    )


def format_of(path: str | Path) -> str | None:
    """The data format by the suffix of a file name, without .gz; None where it is none that is known."""
    name = str(path).removesuffix(".gz")
    return next((suffix for suffix in FORMATS if name.endswith(suffix)), None)


def _on_hub(
    hub: str, source: Source, revision: str | None, *, where: tuple[tuple[str, str | int], ...], rename: tuple[tuple[str, str], ...] = ()
) -> Located:
    if revision is None or not re.fullmatch(r"[0-9a-f]{40}", revision):
        found = "no revision" if revision is None else f"revision '{revision}'"
        raise DataError(
            f"data set '{hub}': {found}; expected a commit of 40 hexadecimal digits, so that the rows cannot change.\n{how_to_map(source)}"
        )
    return Located(hub=hub, config=source.config, split=source.split, revision=revision, where=where, rename=rename)


def how_to_map(source: Source) -> str:
    """The `data:` entry that sends a source to a folder or pins it."""
    key = source.path + (f":{source.config}" if source.config else "")
    return (
        "Map it to a local copy in the configuration:\n"
        f'  data: {{"{key}": {{path: /folder/with/the/data, splits: {{{source.split}: {source.split}.parquet}}}}}}\n'
        "or pin it:\n"
        f'  data: {{"{key}": {{path: {source.path}, revision: <commit>}}}}'
    )


def _local(path: str) -> Path:
    """The file or folder that a local path or `package://` means; a package is found without being imported."""
    if not path.startswith("package://"):
        return Path(path).expanduser()
    module, file = package_parts(path)
    top, *inner = module.split(".")
    # find_spec of a dotted name would import the parents
    spec = importlib.util.find_spec(top)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        place = Path(folder).joinpath(*inner, file)
        if place.exists():
            return place
    why = "there is no such package in this environment" if spec is None else f"the package has no file {'/'.join([*inner, file])}"
    raise DataError(f"{path}: {why}. Expected package://module/file of an installed package.")


def _files(place: Path, source: Source, splits: Mapping[str, str], *, is_mapped: bool) -> tuple[Path, ...]:
    split = source.split
    if split in splits:
        return (_existing(place / splits[split]),)
    if splits and not place.is_dir():
        raise DataError(f"{place}: no split '{split}'.{_close(split, splits)} Splits of this source: {', '.join(splits)}.")
    if not place.is_dir():
        file = _existing(place)
        # one file for a whole benchmark: its name must say which split it is, or examples would come from the test rows
        if is_mapped and not re.match(re.escape(split) + r"(?![A-Za-z0-9])", file.name):
            raise DataError(
                f"data: '{source.path}' is mapped to the single file {file}, and split '{split}' is wanted. "
                f"Say which split the file is: splits: {{{split}: {file.name}}} with the folder as path."
            )
        return (file,)
    return _split_in_folder(place, source, splits)


def _split_in_folder(place: Path, source: Source, splits: Mapping[str, str]) -> tuple[Path, ...]:
    """`<split>.<format>` or the parts `<split>-*.<format>`, in the folder or where a copy of a hub repository has them."""
    folders = [place, *([place / source.config] if source.config else []), place / "data"]
    for folder in folders:
        names = sorted(f.name for f in folder.iterdir() if f.is_file() and format_of(f)) if folder.is_dir() else []
        whole = [n for n in names if n.removesuffix(".gz").rpartition(".")[0] == source.split]
        if len(whole) > 1:
            raise DataError(f"{folder}: several files for split '{source.split}': {', '.join(whole)}. Keep one, or name it under `splits`.")
        parts = whole or [n for n in names if n.startswith(f"{source.split}-")]
        if parts:
            return tuple(_existing(folder / n) for n in parts)
    known = sorted(f.name for f in place.iterdir())
    named = f" `splits` names {', '.join(splits)}." if splits else ""
    raise DataError(
        f"{place}: no file for split '{source.split}'.{_close(source.split, [*splits, *known])}{named} Expected {source.split}.jsonl, .csv, .tsv or .parquet "
        f"(.gz too), or `splits: {{{source.split}: file}}`. The folder has: {', '.join(known[:10]) or 'nothing'}."
    )


def _existing(file: Path) -> Path:
    if not file.exists():
        names = [f.name for f in file.parent.iterdir()] if file.parent.is_dir() else []
        why = _close(file.name, names) if file.parent.is_dir() else f" There is no folder {file.parent} either."
        raise DataError(f"{file}: no such file.{why}")
    if not file.is_file():
        raise DataError(f"{file}: expected a data file, found something else.")
    if format_of(file) is None or file.name.endswith(".parquet.gz"):
        raise DataError(f"{file}: unknown format. Expected {', '.join(FORMATS)}; all but .parquet also with .gz.")
    return file


def _close(name: str, known: Mapping[str, str] | list[str]) -> str:
    """' Did you mean ...?' with up to three names that are close."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.4)
    return f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
