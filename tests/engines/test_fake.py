from __future__ import annotations

import multiprocessing
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from raybench.core.checkpoint import Checkpoint
from raybench.core.errors import CheckpointError, EngineDead, EngineError
from raybench.core.outputs import Generation, Likelihoods
from raybench.core.protocols import EngineSpec
from raybench.core.types import ErrorCode, Kind, Request, Sampling
from raybench.engines.fake import FakeEngine


def fake(uri: str = "model", **options: Any) -> FakeEngine:
    return FakeEngine(EngineSpec(kind="fake", checkpoint=Checkpoint(uri=uri), options=options))


def ask(*ids: str) -> list[Request]:
    return [Request(sample_id=i, kind=Kind.GENERATE, prompt=f"Question {i}") for i in ids]


def test_another_checkpoint_gives_other_answers() -> None:
    one, two = fake("one").run(ask("a"))[0], fake("two").run(ask("a"))[0]

    assert one.output != two.output


def test_a_swap_gives_the_answers_of_a_fresh_engine() -> None:
    engine = fake("one")

    assert engine.load(Checkpoint(uri="two"))

    assert engine.run(ask("a", "b")) == fake("two").run(ask("a", "b"))


@pytest.mark.parametrize(("num_characters", "expected"), [(0, 0), (24, 24), (129, 129), (1000, 256)])  # 256 is the default of max_tokens
def test_the_length_of_an_answer_is_configured(num_characters: int, expected: int) -> None:
    output = fake(num_characters=num_characters).run(ask("a"))[0].output

    assert isinstance(output, Generation)
    assert len(output.text) == expected


@pytest.mark.parametrize("num_characters", [2_000, 3_000_000])
def test_long_answers_differ_and_do_not_compress(num_characters: int) -> None:
    engine = fake(num_characters=num_characters)
    requests = [replace(r, sampling=Sampling(max_tokens=num_characters)) for r in ask("a", "b", "c")]

    texts = [p.output.text for p in engine.run(requests) if isinstance(p.output, Generation)]

    assert [len(t) for t in texts] == [num_characters] * 3
    assert len(set(texts)) == 3
    assert len(pa.compress("".join(texts).encode(), codec="lz4", asbytes=True)) > 2.9 * num_characters
    assert [p.output for p in fake(num_characters=num_characters).run(requests)] == [p.output for p in engine.run(requests)]
    assert texts[0] != fake("other", num_characters=num_characters).run(requests)[0].output.text


def test_echo_answers_with_the_prompt() -> None:
    assert fake(answer="echo").run(ask("a"))[0].output == Generation(text="Question a")


def test_first_prefers_the_first_option() -> None:
    output = (
        fake(answer="first").run([Request(sample_id="a", kind=Kind.LOGLIKELIHOOD, prompt="x", continuations=("b", "c", "d"))])[0].output
    )

    assert isinstance(output, Likelihoods)
    assert output.logprobs == tuple(sorted(output.logprobs, reverse=True))


@pytest.mark.parametrize(("kind", "error"), [("error", EngineError), ("raise", EngineError), ("dead", EngineDead)])
def test_a_fault_strikes_the_shard_of_its_sample(kind: str, error: type[Exception]) -> None:
    engine = fake(faults=[{"kind": kind, "sample_id": "b"}])

    assert engine.run(ask("a", "c"))
    with pytest.raises(error, match=f"'{kind}' for sample 'b'"):
        engine.run(ask("a", "b"))


def test_a_fault_stops_after_its_times() -> None:
    engine = fake(faults=[{"kind": "raise", "times": 1}])

    with pytest.raises(EngineError):
        engine.run(ask("a"))
    assert engine.run(ask("a"))[0].error_code is None


@pytest.mark.parametrize(("kind", "code"), [("nan", ErrorCode.NONFINITE), ("row", ErrorCode.REFUSED)])
def test_a_row_fault_leaves_the_neighbours_alone(kind: str, code: ErrorCode) -> None:
    a, b, c = fake(faults=[{"kind": kind, "sample_id": "b"}]).run(ask("a", "b", "c"))

    assert (b.error_code, b.output) == (code, None)
    assert [a, c] == fake().run(ask("a", "c"))


@pytest.mark.parametrize(("kind", "exit_code"), [("exit", 1), ("kill", -9)])
def test_exit_and_kill_end_the_process(kind: str, exit_code: int) -> None:
    process = multiprocessing.get_context("spawn").Process(target=run_with_fault, args=(kind,))
    process.start()
    process.join(60)

    assert process.exitcode == exit_code


def run_with_fault(kind: str) -> None:
    fake(faults=[{"kind": kind}]).run(ask("a"))


@pytest.mark.parametrize("uri", ["broken-one", "./models/broken-one", "/models/broken-one/"])
def test_a_broken_checkpoint_is_refused_at_start_and_at_a_swap(uri: str) -> None:
    with pytest.raises(CheckpointError, match="broken-one"):
        fake(uri, broken=["broken-one"])
    with pytest.raises(CheckpointError, match="broken-one"):
        fake("fine", broken=["broken-one"]).load(Checkpoint(uri=uri))
