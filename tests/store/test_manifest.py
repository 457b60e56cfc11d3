from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.core.errors import InternalError, RunError
from raybench.store.manifest import differences, read_manifest, write_manifest

CONTENT = {"name": "r", "models": [{"dtype": "float32"}], "seed": 0}


def test_a_manifest_is_written_once_and_read_back(tmp_path: Path) -> None:
    assert write_manifest(tmp_path, CONTENT)
    assert not write_manifest(tmp_path, {"name": "other"})

    assert read_manifest(tmp_path) == CONTENT


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "this is no run directory"),
        (lambda path: path.write_text(""), "cannot be read as JSON"),
        (lambda path: path.write_text(path.read_text()[:-5]), "cannot be read as JSON"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "cannot be read as JSON"),
        (lambda path: path.write_text("[]"), "no schema version"),
        (lambda path: path.write_text(path.read_text().replace('"seed": 0', '"seed": 1')), "does not have the digest"),
        (lambda path: edit(path, schema=99), "newer raybench: schema version 99, this one reads up to 1"),
    ],
)
def test_a_manifest_that_cannot_be_used_says_why(tmp_path: Path, damage: Any, message: str) -> None:
    write_manifest(tmp_path, CONTENT)

    damage(tmp_path / "manifest.json")

    with pytest.raises(RunError, match=message):
        read_manifest(tmp_path)


def test_nan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="JSON"):
        write_manifest(tmp_path, {"value": float("nan")})

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (CONTENT, CONTENT, []),
        ({"a": (1, 2)}, {"a": [1, 2]}, []),  # JSON has no tuples
        (CONTENT, CONTENT | {"seed": 1}, ["seed: 0 -> 1"]),
        (CONTENT, CONTENT | {"models": [{"dtype": "bfloat16"}]}, ['models[0].dtype: "float32" -> "bfloat16"']),
        ({"m": [1]}, {"m": [1, {"b": 2}]}, ['m[1]: (absent) -> {"b": 2}']),
        ({"m": [1, 2]}, {"m": [1]}, ["m[1]: 2 -> (absent)"]),
        ({"a": None}, {}, ["a: null -> (absent)"]),
        ({"a": {"b": 1}}, {"a": 1}, ['a: {"b": 1} -> 1']),
        ({"a": 1}, {"a": True}, ["a: 1 -> true"]),  # equal in Python, not in JSON
        ({"b": 1, "a": 1}, {"b": 2, "a": 2}, ["a: 1 -> 2", "b: 1 -> 2"]),
    ],
)
def test_differences_name_the_path_and_both_values(old: Any, new: Any, expected: list[str]) -> None:
    assert differences(old, new) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), json_values, max_size=3), st.dictionaries(st.text(max_size=3), json_values, max_size=3))
def test_there_are_differences_exactly_when_the_json_differs(old: dict[str, Any], new: dict[str, Any]) -> None:
    same = json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)

    assert (differences(old, new) == []) == same
