"""Samples as rows of the table `schema.SAMPLES`, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from raybench.core.schema import SAMPLES
from raybench.core.types import Sample

_FIELDS_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def samples_to_batch(samples: Sequence[Sample]) -> pa.RecordBatch:
    """Samples as rows, in order.

    Raises:
        ValueError: when a field is NaN or infinite, which JSON does not have.
        TypeError: when a field is no JSON value.
        UnicodeEncodeError: when a text has a lone surrogate.
    """
    return pa.record_batch(
        [
            pa.array([s.id for s in samples], pa.string()),
            pa.array([_FIELDS_JSON(s.fields) for s in samples], pa.string()),
            pa.array([s.choices for s in samples], pa.list_(pa.string())),
            pa.array([s.label for s in samples], pa.int32()),
            pa.array([s.targets for s in samples], pa.list_(pa.string())),
            pa.array([s.cluster for s in samples], pa.string()),
        ],
        schema=SAMPLES,
    )


class _Fields(Mapping[str, Any]):
    """A JSON object that is decoded when somebody looks: most metrics never do."""

    __slots__ = ("_text", "_value")

    def __init__(self, text: str) -> None:
        self._text = text
        self._value: dict[str, Any] | None = None

    def _decoded(self) -> dict[str, Any]:
        if self._value is None:
            self._value = json.loads(self._text)
        return self._value

    def __getitem__(self, key: str) -> Any:
        return self._decoded()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._decoded())

    def __len__(self) -> int:
        return len(self._decoded())

    def __repr__(self) -> str:
        return repr(self._decoded())

    def __deepcopy__(self, memo: Any) -> dict[str, Any]:
        return dict(self._decoded())  # dataclasses.asdict gives plain data


def samples_from_batch(batch: pa.RecordBatch) -> list[Sample]:
    """Inverse of `samples_to_batch`."""
    columns = [batch.column(i).to_pylist() for i in range(len(SAMPLES))]
    return [
        Sample(id=i, fields=_Fields(f), choices=tuple(c), label=label, targets=tuple(t), cluster=cluster)
        for i, f, c, label, t, cluster in zip(*columns, strict=True)
    ]
