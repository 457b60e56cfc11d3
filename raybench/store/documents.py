"""The JSON documents of a run that are overwritten as it goes on: state, results, efficiency, noise floors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raybench.core.recheck import Recheck, rechecks_from_json, rechecks_to_json
from raybench.store.home import Home
from raybench.store.json_files import read_json, write_json


class Documents:
    """Reads and writes them; a reader finds the old one or the new one, whole. Making one touches nothing."""

    def __init__(self, folder: Path, home: Home, name: str) -> None:
        self._path = folder
        self._home = home
        self._name = name

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Say how far the run is."""
        self._write("state.json", state)

    def state(self) -> dict[str, Any]:
        """How far the run is; empty before it began."""
        path = self._brought("state.json")
        return read_json(path) if path.exists() else {}

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Write the numbers: content only, so that equal runs have equal files."""
        self._write("results.json", results)

    def read_results(self) -> dict[str, Any]:
        """The numbers.

        Raises:
            RunError: when there are none yet.
        """
        return read_json(self._brought("results.json"), self._name)

    def write_rechecks(self, rechecks: Sequence[Recheck]) -> None:
        """Keep the noise floors."""
        self._write("recheck.json", rechecks_to_json(rechecks))

    def rechecks(self) -> tuple[Recheck, ...]:
        """The noise floors that were measured; empty where none was.

        Raises:
            RunError: when they are damaged.
        """
        path = self._brought("recheck.json")
        return rechecks_from_json(read_json(path)) if path.exists() else ()

    def write_efficiency(self, measured: Mapping[str, Any]) -> None:
        """Write the measured summaries."""
        self._write("efficiency.json", measured)

    def read_efficiency(self) -> dict[str, Any]:
        """The measured summaries."""
        return read_json(self._brought("efficiency.json"), self._name)

    def _write(self, name: str, value: Mapping[str, Any]) -> None:
        write_json(self._path / name, value)
        self._home.keep(self._path / name)

    def _brought(self, name: str) -> Path:
        self._home.bring(self._path / name)
        return self._path / name
