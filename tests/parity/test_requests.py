"""Single requests with traps in them: the same log-probabilities, greedy flags and texts as the harness's hf backend (lm-eval 0.4.13).

The rows of the table of traps that a test is about are named in its title (T11, T12, ...).
"""

from __future__ import annotations

from typing import Any

import pytest

from raybench.core.outputs import Generation, Likelihoods, TextLikelihood
from raybench.core.protocols import Engine
from raybench.core.types import Kind, Request, Sampling
from tests.parity.programs import ROWS, Harness, engine_of, read_rows

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("parity")]

PAIRS = [
    ("The lamp is", " bright"),
    ("The lamp is ", "bright"),  # T11: the space moves to the continuation
    ("The lamp is \n ", " bright"),
    ("The lam", "p is bright"),  # T11: the tokenizer merges over the border
    ("Answer:", "\n\nyes"),
    ("", " bright lamp"),  # T12: no context
    ("", "bright"),
    ("Grüße, 北京 ", "ist schön"),
    ("A", " "),
]


def likelihood(context: str, continuation: str, number: int = 0) -> Request:
    return Request(sample_id=f"s{number}", kind=Kind.LOGLIKELIHOOD, prompt=context, delimiter="", continuations=(continuation,))


def asked(kind: str, *arguments: tuple[Any, ...]) -> list[Any]:
    """Requests as the harness has them."""
    from lm_eval.api.instance import Instance

    return [Instance(request_type=kind, doc={}, arguments=a, idx=i) for i, a in enumerate(arguments)]  # type: ignore[arg-type]


def compare(engine: Engine, model: Any, pairs: list[tuple[str, str]]) -> None:
    expected = model.loglikelihood(asked("loglikelihood", *pairs), disable_tqdm=True)
    found = engine.run([likelihood(c, t, i) for i, (c, t) in enumerate(pairs)])
    for pair, answer, (logprob, is_greedy) in zip(pairs, found, expected, strict=True):
        assert isinstance(answer.output, Likelihoods), (pair, answer.error_message)
        assert answer.output.logprobs[0] == pytest.approx(logprob, abs=1e-3), pair
        assert answer.output.is_greedy[0] == is_greedy, pair


@pytest.mark.parametrize("name", ["llama", "llama-bos", "gpt2"])
def test_t11_t12_borders_and_empty_contexts(name: str, checkpoints: Any, harness: Harness) -> None:
    compare(engine_of(checkpoints[name]), harness.model(checkpoints[name]), PAIRS)


def test_t13_a_text_that_begins_with_bos_gets_no_second_one(checkpoints: Any, harness: Harness) -> None:
    pairs = [("<s>The lamp is", " bright"), ("The lamp is", " bright")]

    compare(engine_of(checkpoints["llama-bos"]), harness.model(checkpoints["llama-bos"]), pairs)


@pytest.mark.parametrize("name", ["llama", "llama-bos", "gpt2"])
def test_t14_a_context_that_is_too_long_loses_its_beginning(name: str, checkpoints: Any, harness: Harness) -> None:
    text = " ".join(row["text"] for row in read_rows(ROWS / "lambada_openai.jsonl"))
    pairs = [(text[:n], text[n : n + 20]) for n in (60, 300, 700)]

    compare(engine_of(checkpoints[name], max_length=64, overlong="truncate_left"), harness.model(checkpoints[name], max_length=64), pairs)


@pytest.mark.parametrize("max_length", [16, 64, 2048])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_t15_long_texts_are_scored_in_the_windows_of_the_harness(name: str, max_length: int, checkpoints: Any, harness: Harness) -> None:
    texts = [row["text"] for row in read_rows(ROWS / "lambada_openai.jsonl")[:4]] + ["a", "word " * 40]
    expected = harness.model(checkpoints[name], max_length=max_length).loglikelihood_rolling(
        asked("loglikelihood_rolling", *[(t,) for t in texts]), disable_tqdm=True
    )

    found = engine_of(checkpoints[name], max_length=max_length).run(
        [Request(sample_id=f"s{i}", kind=Kind.ROLLING, prompt=t) for i, t in enumerate(texts)]
    )

    assert [p.output.logprob for p in found if isinstance(p.output, TextLikelihood)] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("name", ["llama", "llama-bos", "gpt2"])
def test_t24_t27_greedy_texts_end_before_the_first_stop(name: str, checkpoints: Any, harness: Harness) -> None:
    prompts = [row["text"][:50] for row in read_rows(ROWS / "lambada_openai.jsonl")[:5]]
    engine = engine_of(checkpoints[name])
    settings = {"do_sample": False, "max_gen_toks": 24}
    for stops in (["no"], ["e", "the"], []):
        expected = harness.model(checkpoints[name]).generate_until(
            asked("generate_until", *[(p, {**settings, "until": list(stops)}) for p in prompts]), disable_tqdm=True
        )
        sampling = Sampling(max_tokens=24, stop=tuple(stops))
        found = engine.run([Request(sample_id=f"s{i}", kind=Kind.GENERATE, prompt=p, sampling=sampling) for i, p in enumerate(prompts)])
        assert [p.output.text for p in found if isinstance(p.output, Generation)] == expected


def test_t25_the_prompt_of_a_generation_leaves_room_for_the_answer(checkpoints: Any, harness: Harness) -> None:
    text = " ".join(row["text"] for row in read_rows(ROWS / "lambada_openai.jsonl"))
    prompts = [text[:n] for n in (40, 200, 800)]
    expected = harness.model(checkpoints["llama"], max_length=64).generate_until(
        asked("generate_until", *[(p, {"do_sample": False, "max_gen_toks": 16, "until": []}) for p in prompts]), disable_tqdm=True
    )

    found = engine_of(checkpoints["llama"], max_length=64, overlong="truncate_left").run(
        [Request(sample_id=f"s{i}", kind=Kind.GENERATE, prompt=p, sampling=Sampling(max_tokens=16)) for i, p in enumerate(prompts)]
    )

    assert [p.output.text for p in found if isinstance(p.output, Generation)] == expected
