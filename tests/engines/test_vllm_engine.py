"""The vLLM engine against hand-written loops over the same weights in transformers, in float32."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from raybench.core.errors import ConfigError
from raybench.core.outputs import Generation, Likelihoods, TextLikelihood
from raybench.core.types import Kind, Prediction, Request, Sampling
from raybench.engines.answer import AnswerReader
from raybench.engines.fit import PromptError
from raybench.engines.items import Item
from raybench.engines.rows import Row
from raybench.engines.vllm_feed import Question
from raybench.engines.vllm_generate import VllmGenerator
from raybench.engines.vllm_score import score, score_stepwise

pytestmark = pytest.mark.vllm

BLOCK = 32
"""Tokens of a cached block on a CPU."""


@pytest.fixture(scope="module")
def model(wide_llama: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(wide_llama, dtype="float32").eval()


@pytest.fixture(scope="module")
def tokenizer(wide_llama: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(wide_llama)


def by_hand(model: Any, context: list[int], continuation: list[int]) -> tuple[list[float], bool]:
    """Log-probability of each token of the continuation, and whether each is the most probable one."""
    import torch

    ids = [*context, *continuation]
    with torch.inference_mode():
        table = model(torch.tensor([ids[:-1]])).logits[0].float().log_softmax(-1)
    rows = table[len(context) - 1 :]
    return [float(rows[k, t]) for k, t in enumerate(continuation)], rows.argmax(-1).tolist() == continuation


def choose(prompt: str, *continuations: str, sample_id: str = "s", keep_tokens: bool = False) -> Request:
    return Request(
        sample_id=sample_id, kind=Kind.LOGLIKELIHOOD, prompt=prompt, continuations=continuations, delimiter="", keep_tokens=keep_tokens
    )


def ask(prompt: str, *, seed: int | None = None, repeat: int = 0, **sampling: Any) -> Request:
    return Request(
        sample_id="s", kind=Kind.GENERATE, prompt=prompt, seed=seed, repeat=repeat, sampling=Sampling(**{"max_tokens": 16, **sampling})
    )


def likelihoods(prediction: Prediction) -> Likelihoods:
    assert isinstance(prediction.output, Likelihoods), prediction.error_message
    return prediction.output


def text(prediction: Prediction) -> str:
    assert isinstance(prediction.output, Generation), prediction.error_message
    return prediction.output.text


# one byte is one token: contexts below, at and above the border of a cached block; options of one token, of two, longer than a block
@pytest.mark.parametrize("length", [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 100])
@pytest.mark.parametrize(
    "options", [("a", "b", "c"), ("a", "ab", "abc"), ("yes", "no", "maybe not"), ("x" * 40, "x" * 39 + "y", "x" * 70), ("alone",)]
)
def test_options_score_as_in_a_loop_by_hand(live_vllm: Any, model: Any, tokenizer: Any, length: int, options: tuple[str, ...]) -> None:
    prompt = ("once upon a time there was a king " * 4)[:length].rstrip().ljust(length, ".")
    expected = [by_hand(model, tokenizer.encode(prompt), tokenizer.encode(o)) for o in options]

    # twice: the second time the whole of it is in the cache
    for _ in range(2):
        found = likelihoods(live_vllm.run([choose(prompt, *options, keep_tokens=True)])[0])

        assert found.token_logprobs is not None
        for mine, (logprobs, _) in zip(found.token_logprobs, expected, strict=True):
            assert mine == pytest.approx(logprobs, abs=1e-3)
        assert found.logprobs == pytest.approx([sum(x) for x, _ in expected], abs=1e-3)
        assert found.is_greedy == tuple(g for _, g in expected)
        assert found.num_tokens == tuple(map(len, options))


def test_more_options_than_one_request_can_name(live_vllm: Any, model: Any, tokenizer: Any) -> None:
    options = [chr(c) for c in [*range(33, 127), *range(161, 256)] if len(tokenizer.encode(chr(c))) <= 2]
    expected = [by_hand(model, tokenizer.encode("Which sign?"), tokenizer.encode(o)) for o in options]

    found = likelihoods(live_vllm.run([choose("Which sign?", *options)])[0])

    assert len({tokenizer.encode(o)[0] for o in options}) > 90
    assert found.logprobs == pytest.approx([sum(x) for x, _ in expected], abs=1e-3)


def test_scores_token_by_token_are_those_of_whole_continuations(live_vllm: Any, tokenizer: Any) -> None:
    items = [
        Item(context=tokenizer.encode(context), continuations=[tokenizer.encode(o) for o in options])
        for context, options in (("once upon a time", ("a", "ab", "abc")), ("x" * 70, ("yes", "yes, but no")), ("alone", ("z",)))
    ]

    found, expected = score_stepwise(items, live_vllm._feed.ask), score(items, live_vllm._feed.ask)

    for mine, whole in zip(found, expected, strict=True):
        assert isinstance(mine, list)
        assert isinstance(whole, list)
        assert [s.is_greedy for s in mine] == [s.is_greedy for s in whole]
        for a, b in zip(mine, whole, strict=True):
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-3)


def test_what_the_model_would_say_is_greedy(live_vllm: Any, model: Any, tokenizer: Any) -> None:
    import torch

    ids = tokenizer.encode("Tell me a story. ")
    said = []
    with torch.inference_mode():
        for _ in range(5):
            said.append(int(model(torch.tensor([[*ids, *said]])).logits[0, -1].argmax()))
    items = [(ids, [said[:1], said[:2], said, [*said[:-1], (said[-1] + 1) % 100]])]

    (found,) = score([Item(context=c, continuations=o) for c, o in items], live_vllm._feed.ask)

    assert not isinstance(found, PromptError)
    assert [s.is_greedy for s in found] == [True, True, True, False]


@pytest.mark.parametrize("words", [1, 8, 30])  # 8 fit into the context of 200, 30 do not
def test_a_text_is_scored_once_in_windows(live_vllm: Any, model: Any, tokenizer: Any, words: int) -> None:
    request = Request(sample_id="s", kind=Kind.ROLLING, prompt="a rose is a rose " * words, keep_tokens=True)
    ids = tokenizer.encode(request.prompt)
    # the windows of lm_eval 0.4.13 (utils.py, get_rolling_token_windows): 200 at a time, the last one with full context
    expected: list[float] = []
    for start in range(0, len(ids), 200):
        scored = ids[start : start + 200]
        context = [0] if start == 0 else ids[max(0, start + len(scored) - 201) : start]
        expected += by_hand(model, context, scored)[0]

    (prediction,) = live_vllm.run([request])

    assert isinstance(prediction.output, TextLikelihood)
    assert prediction.output.logprob == pytest.approx(sum(expected), abs=1e-3)
    assert prediction.output.token_logprobs == pytest.approx(expected, abs=1e-3)


def test_greedy_text_is_that_of_transformers(live_vllm: Any, model: Any, tokenizer: Any) -> None:
    import torch

    prompts = ["Tell me", "One, two, three", "Why is the sky blue? " * 4, "x"]
    expected = []
    for prompt in prompts:
        out = model.generate(torch.tensor([tokenizer.encode(prompt)]), max_new_tokens=24, do_sample=False, eos_token_id=1, pad_token_id=0)
        expected.append(tokenizer.decode(out[0, len(tokenizer.encode(prompt)) :], skip_special_tokens=True))

    assert [text(p) for p in live_vllm.run([ask(p, max_tokens=24) for p in prompts])] == expected


def test_kept_token_scores_are_the_model_s_own(live_vllm: Any, model: Any, tokenizer: Any) -> None:
    sampling = Sampling(max_tokens=16, temperature=1.5, top_k=5)
    row = Row(prompt=tokenizer.encode("Tell me"), sampling=sampling, draw=Random(3), keep_tokens=True)

    VllmGenerator(live_vllm._feed.ask, AnswerReader(tokenizer), frozenset({1})).run([row])

    expected, _ = by_hand(model, row.prompt, row.new)
    assert len(row.logprobs) == row.num_new == 16
    assert row.logprobs == pytest.approx(expected, abs=1e-3)


def test_repeats_draw_by_their_seeds_alone_and_share_the_prompt_s_computation(live_vllm: Any) -> None:
    prompt = "Write something new about the sea. " * 4
    requests = [ask(prompt, temperature=1.0, seed=i, repeat=i) for i in range(4)]

    together = [text(p) for p in live_vllm.run(requests)]
    alone = [text(live_vllm.run([r])[0]) for r in reversed(requests)][::-1]

    assert together == alone
    assert len(set(together)) == 4
    from vllm import SamplingParams

    (seen,) = live_vllm._feed.ask([Question(tokens=live_vllm._prompter.prompt(requests[0]), params=SamplingParams(max_tokens=1))])
    assert seen.num_cached_tokens >= len(live_vllm._prompter.prompt(requests[0])) - BLOCK


def test_turns_are_answered_as_if_asked_by_hand(live_vllm: Any) -> None:
    whole = replace(ask("First?"), turns=("Second?", "Third?"))

    (prediction,) = live_vllm.run([whole])

    assert isinstance(prediction.output, Generation)
    first, second, third = prediction.output.turns
    assert text(live_vllm.run([ask("First?")])[0]) == first
    assert text(live_vllm.run([ask(f"First? {first}\n\nSecond?")])[0]) == second
    assert text(live_vllm.run([ask(f"First? {first}\n\nSecond? {second}\n\nThird?")])[0]) == third
    assert prediction.output.text == third


def test_shards_of_several_threads_run_together_and_keep_their_answers(live_vllm: Any) -> None:
    shards = [[ask(f"Shard {s}, question {i}", max_tokens=30) for i in range(12)] for s in range(3)]
    alone = [[text(p) for p in live_vllm.run(shard)] for shard in shards]
    before = live_vllm.progress()

    with ThreadPoolExecutor(3) as threads:
        together = list(threads.map(live_vllm.run, shards))

    assert [[text(p) for p in shard] for shard in together] == alone
    # one after the other they took 90 steps and more
    assert live_vllm.progress() - before < 60


def test_what_vllm_cannot_do_is_a_configuration_error(live_vllm: Any) -> None:
    with pytest.raises(ConfigError, match=r"sampling\.num_beams"):
        live_vllm.run([ask("Tell me", num_beams=3)])
    with pytest.raises(ConfigError, match="temperature"):
        live_vllm.run([ask("Tell me", temperature=3.0)])
    assert text(live_vllm.run([ask("Tell me")])[0])


def test_the_engine_says_what_decides_its_last_digits(live_vllm: Any) -> None:
    assert live_vllm.numerics() == {"attn": "CPU_ATTN", "dtype": "float32", "invariant": "no", "threads": "1"}
