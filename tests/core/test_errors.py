"""Errors: one message each, the exit code of the table, and the same after a trip between processes."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from raybench.core import errors
from raybench.core.errors import RaybenchError

CLASSES = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, RaybenchError)]


def test_the_table_at_the_top_of_the_file_lists_every_error_with_its_exit_code() -> None:
    listed = dict(re.findall(r"^ *([A-Z]\w+) +(\d)  ", errors.__doc__ or "", flags=re.MULTILINE))

    assert {c.__name__: str(c.exit_code) for c in CLASSES if c is not RaybenchError} == listed


# the table "Exit codes" of the design: 1 internal failure, 2 usage, configuration or data, 3 incomplete but resumable, 4 more errors than allowed
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("InternalError", 1),
        ("ConfigError", 2),
        ("DataError", 2),
        ("CheckpointError", 2),
        ("RunError", 2),
        ("IncompleteError", 3),
        ("StorageError", 3),
        ("ToleranceError", 4),
    ],
)
def test_exit_codes_are_those_of_the_documentation(name: str, code: int) -> None:
    assert getattr(errors, name).exit_code == code


@pytest.mark.parametrize("kind", CLASSES, ids=lambda c: c.__name__)
def test_an_error_survives_pickling_with_type_and_message(kind: type[RaybenchError]) -> None:
    error = kind("runs/a: wrong 'x' ü\nsecond line")

    again = pickle.loads(pickle.dumps(error))

    assert type(again) is kind
    assert (again.message, str(again), again.exit_code) == (error.message, error.message, kind.exit_code)


def test_errors_are_caught_by_what_python_calls_them_too() -> None:
    assert issubclass(errors.ConfigError, ValueError)
    assert issubclass(errors.RunError, RuntimeError)
    assert issubclass(errors.StorageError, errors.IncompleteError)
    assert issubclass(errors.EngineDead, errors.EngineError)


def test_no_module_of_raybench_makes_an_error_class_elsewhere() -> None:
    package = Path(errors.__file__).parents[1]
    pattern = re.compile(r"^class \w+\((RaybenchError|ConfigError|DataError|CheckpointError|RunError|EngineError)\b", re.MULTILINE)
    found = [str(f.relative_to(package)) for f in package.rglob("*.py") if f.name != "errors.py" and pattern.search(f.read_text())]

    assert found == []
