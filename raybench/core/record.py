"""Frozen values of which a run makes millions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """A dataclass that only the type checker keeps frozen.

    `frozen=True` assigns every field by a call of `object.__setattr__`: that makes a row two to four times as slow to build, a quarter of
    the time of a run whose engine costs nothing (`python -m tests.bench gather`).
    """
    return dataclass(slots=True, kw_only=True, unsafe_hash=True)(cls)
