"""One suite, every engine: what the driver may rely on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raybench.core.checkpoint import Checkpoint
from raybench.core.outputs import Generation, Likelihoods, TextLikelihood
from raybench.core.protocols import Engine, EngineSpec
from raybench.core.types import ErrorCode, FinishReason, Kind, Prediction, Request, Sampling, Shot
from raybench.engines.registry import make_engine, reproducible, serves
from tests.engines.families import make_family

# a context that both hold: the fake engine counts characters, the tiny model bytes
CONTEXT = {"fake": {"context": 200}, "pytorch": {"max_length": 200, "threads": 1}}


# one of each kind of attention, positions and state; tests/engines/test_likelihood.py has the scores of more
DECODERS = (
    "mistral", "qwen3", "gemma3_text", "phi3", "olmo2", "mixtral", "gpt2", "gpt_neox", "gpt_neo", "opt", "falcon", "bloom", "mamba",
)  # fmt: skip


@pytest.fixture(
    scope="module",
    params=[
        "fake",
        "pytorch",
        pytest.param("vllm", marks=pytest.mark.vllm),
        *(pytest.param(f"pytorch {family}", marks=pytest.mark.slow) for family in DECODERS),
    ],
)
def subject(request: pytest.FixtureRequest) -> str:
    """An engine, and the family of its checkpoint where it is not a Llama."""
    return str(request.param)


@pytest.fixture(scope="module")
def kind(subject: str) -> str:
    return subject.partition(" ")[0]


@pytest.fixture(scope="module")
def checkpoint(subject: str, tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    kind, _, family = subject.partition(" ")
    if kind == "fake":
        return Checkpoint(uri="any")
    folder = make_family(family, tmp_path_factory.mktemp(family), tiny_llama) if family else tiny_llama
    return Checkpoint(uri=str(folder), path=str(folder), identity=family or "tiny")


@pytest.fixture(scope="module")
def engine(kind: str, checkpoint: Checkpoint, request: pytest.FixtureRequest) -> Iterator[Engine]:
    if kind == "vllm":  # shared with other tests: it takes half a minute to start
        yield request.getfixturevalue("live_vllm")
        return
    engine = make_engine(EngineSpec(kind=kind, checkpoint=checkpoint, options=CONTEXT[kind]))
    yield engine
    engine.close()


def with_policy(kind: str, checkpoint: Checkpoint, overlong: str, request: pytest.FixtureRequest) -> Engine:
    """An engine with another policy for long prompts, which is no option of vLLM itself: there the live engine is given it for one test."""
    if kind != "vllm":
        engine = make_engine(EngineSpec(kind=kind, checkpoint=checkpoint, options={**CONTEXT[kind], "overlong": overlong}))
        request.addfinalizer(engine.close)
        return engine
    live = request.getfixturevalue("live_vllm")
    before = live._options
    request.addfinalizer(lambda: setattr(live, "_options", before))
    live._options = before.model_copy(update={"overlong": overlong})
    return live  # type: ignore[no-any-return]


def assert_alike(engine: Engine, now: Sequence[Prediction], before: Sequence[Prediction]) -> None:
    """Equal rows; of an engine that says `measured`, equal but for the last digits of log-probabilities."""
    if engine.reproducible == "exact":
        assert now == before
        return
    for row, other in zip(now, before, strict=True):
        assert replace(row, output=None) == replace(other, output=None)
        match row.output, other.output:
            case Likelihoods() as a, Likelihoods() as b:
                assert a.logprobs == pytest.approx(b.logprobs, abs=1e-3)
                assert replace(a, logprobs=()) == replace(b, logprobs=())
            case TextLikelihood() as c, TextLikelihood() as d:
                assert c.logprob == pytest.approx(d.logprob, abs=1e-3)
                assert c.num_tokens == d.num_tokens
            case a_output, b_output:
                assert a_output == b_output


def generate(sample_id: str, prompt: str, **sampling: Any) -> Request:
    return Request(sample_id=sample_id, kind=Kind.GENERATE, prompt=prompt, sampling=Sampling(**{"max_tokens": 12, **sampling}))


def choose(sample_id: str, prompt: str, *continuations: str) -> Request:
    return Request(sample_id=sample_id, kind=Kind.LOGLIKELIHOOD, prompt=prompt, continuations=continuations)


def roll(sample_id: str, text: str) -> Request:
    return Request(sample_id=sample_id, kind=Kind.ROLLING, prompt=text)


SHARDS = {
    Kind.GENERATE: [generate(str(i), f"Question {i * i}: what is {'very ' * (i % 5)}long?") for i in range(9)],
    Kind.LOGLIKELIHOOD: [choose(str(i), f"The {'big ' * (i % 4)}cat number {i}", "sat", "ran away", "x") for i in range(9)],
    Kind.ROLLING: [roll(str(i), "a rose is a rose " * (3 * i + 1)) for i in range(9)],
}


def test_an_engine_declares_what_the_plan_needs(engine: Engine, kind: str) -> None:
    assert isinstance(engine, Engine)
    assert set(serves(kind)) == engine.kinds
    assert engine.concurrency >= 1
    assert engine.reproducible == reproducible(kind, {})


@pytest.mark.parametrize("request_kind", list(SHARDS))
def test_answers_are_one_to_one_and_in_order(engine: Engine, request_kind: Kind) -> None:
    requests = SHARDS[request_kind]

    predictions = engine.run(requests)

    assert [(p.sample_id, p.request, p.repeat) for p in predictions] == [r.key for r in requests]
    assert all(p.error_code is None and p.num_prompt_tokens and p.num_prompt_tokens > 0 for p in predictions)


def test_each_kind_has_its_output(engine: Engine) -> None:
    text, choice, score = (engine.run(SHARDS[k][:1])[0] for k in (Kind.GENERATE, Kind.LOGLIKELIHOOD, Kind.ROLLING))

    assert isinstance(text.output, Generation)
    assert text.num_output_tokens is not None
    assert 0 < text.num_output_tokens <= 12
    assert isinstance(choice.output, Likelihoods)
    assert len(choice.output.logprobs) == len(choice.output.is_greedy) == len(choice.output.num_tokens) == 3
    assert all(x < 0 for x in choice.output.logprobs)
    assert isinstance(score.output, TextLikelihood)
    assert score.output.logprob < 0
    assert (choice.finish_reason, score.finish_reason) == (FinishReason.SCORED, FinishReason.SCORED)


@pytest.mark.parametrize("request_kind", list(SHARDS))
def test_the_same_shard_gives_the_same_rows(engine: Engine, request_kind: Kind) -> None:
    first = engine.run(SHARDS[request_kind])
    engine.run(SHARDS[Kind.GENERATE][::-1])  # what was asked in between leaves no trace

    assert_alike(engine, engine.run(SHARDS[request_kind]), first)


def test_an_answer_ends_before_a_stop_string(engine: Engine) -> None:
    whole = engine.run([generate("0", "Tell me")])[0].output
    assert isinstance(whole, Generation)
    stop = whole.text[4:6]

    cut = engine.run([generate("0", "Tell me", stop=("never-there", stop))])[0]

    assert cut.output == Generation(text=whole.text[: whole.text.index(stop)])
    assert cut.finish_reason is FinishReason.STOP


def test_an_answer_ends_with_its_token_budget(engine: Engine) -> None:
    prediction = engine.run([generate("0", "Tell me", max_tokens=3)])[0]

    assert (prediction.finish_reason, prediction.num_output_tokens) == (FinishReason.LENGTH, 3)


@pytest.mark.parametrize("request_kind", [Kind.GENERATE, Kind.LOGLIKELIHOOD])
def test_a_prompt_that_is_too_long_is_one_error_row(engine: Engine, request_kind: Kind) -> None:
    shard = SHARDS[request_kind]
    long = replace(shard[0], sample_id="long", prompt="word " * 200)

    *others, row = engine.run([*shard, long])

    assert row.error_code is ErrorCode.OVERLONG
    assert row.output is None
    assert row.error_message
    assert_alike(engine, others, engine.run(shard))


def test_text_longer_than_the_context_is_rolled_over(engine: Engine) -> None:
    prediction = engine.run([roll("long", "word " * 200)])[0]

    assert isinstance(prediction.output, TextLikelihood)
    assert prediction.output.num_tokens == 1000


@pytest.mark.parametrize(
    ("overlong", "num_truncated"),
    [
        ("truncate_left", "some"),
        ("fewer_shots", "some"),
        ("error", None),  # the default
    ],
)
def test_the_policy_for_long_prompts_is_followed(
    kind: str, checkpoint: Checkpoint, overlong: str, num_truncated: str | None, request: pytest.FixtureRequest
) -> None:
    engine = with_policy(kind, checkpoint, overlong, request)
    shots = tuple(Shot(question=f"What is {i}? {'um ' * 12}", answer="so") for i in range(8))

    predictions = engine.run([replace(generate("0", "And?", max_tokens=5), shots=shots)])
    predictions += engine.run([replace(choose("0", "And?", "yes", "no"), shots=shots)])

    for prediction in predictions:
        assert (prediction.error_code is None) == (num_truncated is not None)
        assert (prediction.num_truncated_tokens > 0) == (num_truncated is not None)
        assert (prediction.num_prompt_tokens or 0) <= 201


@pytest.mark.parametrize(
    "empty",
    [
        Request(sample_id="e", kind=Kind.LOGLIKELIHOOD, prompt="a", delimiter="", continuations=("b", "")),
        Request(sample_id="e", kind=Kind.LOGLIKELIHOOD, prompt="a", continuations=()),
        Request(sample_id="e", kind=Kind.ROLLING, prompt=""),
    ],
)
def test_nothing_to_score_is_an_error_row(engine: Engine, empty: Request) -> None:
    neighbour = replace(SHARDS[empty.kind][0], sample_id="n")

    row, other = engine.run([empty, neighbour])

    assert (row.sample_id, row.error_code, row.output) == ("e", ErrorCode.EMPTY, None)
    assert_alike(engine, [other], engine.run([neighbour]))


def test_an_empty_prompt_is_no_error(engine: Engine) -> None:
    choice, text = engine.run([choose("a", "", "yes", "no")])[0], engine.run([generate("b", "")])[0]

    assert choice.error_code is None
    assert text.error_code is None


def test_an_empty_shard_has_no_rows(engine: Engine) -> None:
    assert engine.run([]) == []


def test_a_kind_that_is_not_served_is_refused_by_row(engine: Engine) -> None:
    assert engine.run([Request(sample_id="0", kind=Kind.EMBED, prompt="a")])[0].error_code is ErrorCode.REFUSED


def test_repeats_with_other_seeds_differ_and_with_the_same_seed_agree(engine: Engine) -> None:
    ask = generate("0", "Tell me", temperature=1.0)

    one, two, again = engine.run([replace(ask, seed=1), replace(ask, seed=2, repeat=1), replace(ask, seed=1, repeat=2)])

    assert one.output == again.output
    assert one.output != two.output
