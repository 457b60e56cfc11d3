"""One shard in an engine process: rows become requests, answers become rows, one for one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.core.checkpoint import Checkpoint
from raybench.core.errors import DataError, InternalError
from raybench.core.fingerprint import seed_for
from raybench.core.outputs import Generation
from raybench.core.pool import Work
from raybench.core.protocols import EngineSpec
from raybench.core.schema import REQUESTS, SHOTS, from_batch, keys_of, predictions_schema
from raybench.core.types import Asking, ErrorCode, FinishReason, Kind, Prediction, Request, Sampling, Shot
from raybench.driver.work import check_one_to_one, make_work, run_shard, to_requests
from raybench.engines.fake import FakeEngine


def requests_table(*rows: tuple[str, str, list[int], str]) -> pa.RecordBatch:
    """Rows of (sample id, request name, examples, prompt)."""
    columns = [[r[i] for r in rows] for i in range(4)] + [
        [["a", "b"]] * len(rows),
        [r[1] == "uncond" for r in rows],
        [[]] * len(rows),
        [""] * len(rows),
        [None] * len(rows),
        [None] * len(rows),
        [None] * len(rows),
    ]
    return pa.record_batch([pa.array(c, f.type) for c, f in zip(columns, REQUESTS, strict=True)], schema=REQUESTS)


def shots_table(num: int) -> pa.RecordBatch:
    return pa.record_batch([pa.array([f"q{i}" for i in range(num)]), pa.array([f"a{i}" for i in range(num)])], schema=SHOTS)


ASKING = Asking(task="t", kind=Kind.GENERATE, description="D\n", sampling=Sampling(temperature=0.7), seed=3)
NO_SHOTS = shots_table(0)


def work_of(table: pa.RecordBatch, asking: Asking = ASKING, shots: pa.RecordBatch = NO_SHOTS) -> Work:
    return make_work(0, asking, table, shots)


def fake() -> FakeEngine:
    return FakeEngine(EngineSpec(kind="fake", checkpoint=Checkpoint(uri="m"), options={}))


class Answers:
    """An engine that does what a function says."""

    def __init__(self, function: Callable[[Sequence[Request]], list[Prediction]]) -> None:
        self.run = function


def test_every_row_becomes_a_request_a_repeat_with_a_seed_of_its_own() -> None:
    table = requests_table(("s1", "", [], "p1"), ("s2", "", [], "p2"))

    found = to_requests(work_of(table, replace(ASKING, num_repeats=2)))

    assert [r.key for r in found] == [("s1", "", 0), ("s1", "", 1), ("s2", "", 0), ("s2", "", 1)]
    assert [r.seed for r in found] == [seed_for(3, "t", s, i, "answer") for s in ("s1", "s2") for i in (0, 1)]
    assert {r.description for r in found} == {"D\n"}
    assert [r.prompt for r in found] == ["p1", "p1", "p2", "p2"]


def test_nothing_is_drawn_where_nothing_is_random() -> None:
    table = requests_table(("s1", "", [], "p1"))

    for asking in (replace(ASKING, sampling=Sampling()), Asking(task="t", kind=Kind.LOGLIKELIHOOD)):
        assert to_requests(work_of(table, asking))[0].seed is None


def test_an_unconditional_request_stands_alone() -> None:
    table = requests_table(("s", "", [0], "p"), ("s", "uncond", [], ""))

    both, bare = to_requests(work_of(table, Asking(task="t", kind=Kind.LOGLIKELIHOOD, description="D"), shots_table(1)))

    assert (both.description, len(both.shots), both.context) == ("D", 1, "Dq0 a0\n\np")
    assert (bare.description, bare.shots, bare.context, bare.continuations) == ("", (), "", ("a", "b"))


@given(st.lists(st.lists(st.integers(0, 7), max_size=4), min_size=1, max_size=5))
def test_work_carries_only_the_examples_it_needs_and_means_the_same_ones(chosen: list[list[int]]) -> None:
    table = requests_table(*[(f"s{i}", "", rows, "p") for i, rows in enumerate(chosen)])

    work = work_of(table, ASKING, shots_table(8))

    assert work.shots.num_rows == len({row for rows in chosen for row in rows})
    expected = [tuple(Shot(question=f"q{i}", answer=f"a{i}") for i in rows) for rows in chosen]
    assert [r.shots for r in to_requests(work)] == expected


def test_work_of_a_slice_is_work_of_those_rows() -> None:
    table = requests_table(*[(f"s{i}", "", [i % 3], f"p{i}") for i in range(10)])

    part = to_requests(work_of(table.slice(4, 3), ASKING, shots_table(3)))

    assert part == to_requests(work_of(table, ASKING, shots_table(3)))[4:7]


def test_a_shard_comes_back_as_content_and_what_was_measured() -> None:
    table = requests_table(*[(f"s{i}", "", [], f"p{i}") for i in range(4)])
    asking = replace(ASKING, num_repeats=2)

    batch, measured = run_shard(fake(), work_of(table, asking))

    assert batch.schema.equals(predictions_schema(Kind.GENERATE))
    assert all(a.equals(b) for a, b in zip(keys_of(table, 2), [batch.column(n) for n in ("sample_id", "request", "repeat")], strict=True))
    rows = from_batch(batch, Kind.GENERATE)
    assert measured.num_output_tokens == sum(r.num_output_tokens or 0 for r in rows) > 0
    assert measured.num_prompt_tokens == sum(r.num_prompt_tokens or 0 for r in rows) == 8 * len("D\np0")
    assert len({r.output for r in rows}) == 8  # each repeat is drawn anew


def test_the_same_work_gives_the_same_rows() -> None:
    table = requests_table(*[(f"s{i}", "", [], f"p{i}") for i in range(4)])

    assert run_shard(fake(), work_of(table))[0].equals(run_shard(fake(), work_of(table))[0])


def good(request: Request, **changes: Any) -> Prediction:
    fields: dict[str, Any] = {"sample_id": request.sample_id, "request": request.request, "repeat": request.repeat}
    return Prediction(**{**fields, "finish_reason": FinishReason.STOP, "output": Generation(text="x"), **changes})


WRONG = {
    "too few": (lambda rs: [good(r) for r in rs[:-1]], "was given 3 requests and answered 2"),
    "too many": (lambda rs: [good(r) for r in (*rs, rs[0])], "was given 3 requests and answered 4"),
    "reversed": (lambda rs: [good(r) for r in rs[::-1]], r"answered \('s2', '', 0\) where \('s0', '', 0\) was asked \(row 0"),
    "one twice": (lambda rs: [good(rs[0]), good(rs[0]), good(rs[2])], r"answered \('s0', '', 0\) where \('s1', '', 0\)"),
    "another repeat": (lambda rs: [good(r, repeat=1) for r in rs], r"answered \('s0', '', 1\)"),
    "neither answer nor error": (lambda rs: [good(r, output=None) for r in rs], "either an output or an error code"),
    "both": (lambda rs: [good(r, error_code=ErrorCode.REFUSED) for r in rs], "either an output or an error code"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_engine_that_does_not_answer_one_to_one_is_our_own_mistake(name: str) -> None:
    function, message = WRONG[name]
    table = requests_table(*[(f"s{i}", "", [], "p") for i in range(3)])

    with pytest.raises(InternalError, match=message):
        run_shard(Answers(function), work_of(table))  # type: ignore[arg-type]


def test_an_error_row_is_an_answer() -> None:
    requests = to_requests(work_of(requests_table(("s", "", [], "p"))))

    check_one_to_one(requests, [Prediction.failed(requests[0], ErrorCode.OVERLONG, "too long")])


def test_an_answer_that_is_no_unicode_is_refused_by_name() -> None:
    engine = Answers(lambda rs: [good(r, output=Generation(text="\ud800")) for r in rs])

    with pytest.raises(DataError, match="lone surrogate"):
        run_shard(engine, work_of(requests_table(("s", "", [], "p"))))  # type: ignore[arg-type]


def test_turns_prefix_and_the_wish_to_keep_tokens_reach_the_engine() -> None:
    table = requests_table(("a", "", [], "p"), ("b", "", [], "q"))
    for name, values in (("turns", [["then?"], []]), ("prefix", ["So", ""])):
        index = REQUESTS.get_field_index(name)
        table = table.set_column(index, REQUESTS.field(index), pa.array(values, REQUESTS.field(index).type))

    one, other = to_requests(work_of(table, replace(ASKING, keep_tokens=True)))
    batch, _ = run_shard(FakeEngine(EngineSpec(kind="fake", checkpoint=Checkpoint(uri="m"), options={})), work_of(table))

    assert (one.turns, one.prefix, one.keep_tokens) == (("then?",), "So", True)
    assert (other.turns, other.prefix) == ((), "")
    answers = [p.output for p in from_batch(batch, Kind.GENERATE)]
    assert [len(a.turns) for a in answers if isinstance(a, Generation)] == [2, 0]
