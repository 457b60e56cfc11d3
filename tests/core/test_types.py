"""The values that pass between the parts: frozen, explained, and the plain-text prompt of a request."""

from __future__ import annotations

import ast
import copy
import dataclasses
import pickle
from pathlib import Path

import pytest
from hypothesis import given

from raybench.core import outputs, results, types
from raybench.core.types import ErrorCode, FinishReason, Kind, Prediction, Request, Shot
from tests.strategies import requests

CLASSES = [c for m in (types, outputs, results) for c in vars(m).values() if isinstance(c, type) and dataclasses.is_dataclass(c)]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda c: c.__name__)
def test_every_type_is_frozen_slotted_and_keyword_only(kind: type) -> None:
    parameters = kind.__dataclass_params__  # type: ignore[attr-defined]
    assert parameters.frozen or parameters.unsafe_hash  # a record: kept frozen by the type checker
    assert all(f.kw_only for f in dataclasses.fields(kind))
    assert "__slots__" in vars(kind)


def test_every_member_of_an_enumeration_has_a_sentence() -> None:
    tree = ast.parse(Path(types.__file__).read_text())
    enums = [n for n in tree.body if isinstance(n, ast.ClassDef) and any(getattr(b, "id", "") == "StrEnum" for b in n.bases)]
    assert [e.name for e in enums] == ["Kind", "FinishReason", "ErrorCode"]
    for enum in enums:
        silent = [
            node.targets[0].id
            for node, after in zip(enum.body, [*enum.body[1:], None], strict=True)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
            if not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant))
        ]
        assert silent == [], enum.name


def test_a_request_has_no_field_for_the_answer() -> None:
    names = {f.name for f in dataclasses.fields(Request)}

    assert not names & {"target", "targets", "label", "answer", "choices", "fields"}


def test_the_plain_prompt_is_description_examples_and_question() -> None:
    request = Request(
        sample_id="1", kind=Kind.GENERATE, description="D\n", prompt="Q3", shots=(Shot(question="Q1", answer="A1"), Shot(question="Q2", answer="A2"))
    )  # fmt: skip

    assert request.context == "D\nQ1 A1\n\nQ2 A2\n\nQ3"
    assert dataclasses.replace(request, delimiter="=", separator=";").context == "D\nQ1=A1;Q2=A2;Q3"
    assert request.key == ("1", "", 0)


@given(requests())
def test_a_request_ends_with_its_question_and_survives_a_trip_between_processes(request: Request) -> None:
    assert request.context.endswith(request.prompt)
    assert request.context.startswith(request.description)
    assert pickle.loads(pickle.dumps(request)) == request == copy.deepcopy(request)
    assert hash(request) == hash(copy.deepcopy(request))


def test_a_failed_row_keeps_the_key_and_has_no_answer() -> None:
    request = Request(sample_id="s", kind=Kind.GENERATE, request="uncond", repeat=2)

    row = Prediction.failed(request, ErrorCode.OVERLONG, "too long")

    assert (row.sample_id, row.request, row.repeat) == request.key
    assert (row.finish_reason, row.error_code, row.error_message, row.output) == (FinishReason.ERROR, ErrorCode.OVERLONG, "too long", None)
