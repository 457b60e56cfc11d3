from __future__ import annotations

from pathlib import Path

import pytest

from raybench.core.errors import InternalError, RunError
from raybench.store.json_files import read_json, to_json, write_json


def test_documents_have_sorted_keys_one_space_and_a_final_newline() -> None:
    assert to_json({"b": [1], "a": "ü"}) == '{\n "a": "ü",\n "b": [\n  1\n ]\n}\n'.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {("a", "b"): 1}])
def test_what_is_not_json_is_refused(value: object) -> None:
    with pytest.raises(InternalError, match="cannot be written as JSON"):
        to_json({"value": value})


def test_a_document_is_read_back(tmp_path: Path) -> None:
    write_json(tmp_path / "state.json", {"a": 1})
    write_json(tmp_path / "state.json", {"a": 2})

    assert read_json(tmp_path / "state.json") == {"a": 2}


@pytest.mark.parametrize(("content", "message"), [(None, "no such file"), ("{", "not JSON"), ("[1]", "found list"), ("\xff", "not JSON")])
def test_a_document_that_cannot_be_read_says_what_was_found(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "state.json").write_text(content, encoding="latin-1")

    with pytest.raises(RunError, match=message):
        read_json(tmp_path / "state.json")
