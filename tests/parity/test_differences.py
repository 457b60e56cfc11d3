"""Where raybench differs from lm-evaluation-harness 0.4.13 on purpose: each test names the row of the table of traps and shows both numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raybench.core.outputs import Likelihoods, TextLikelihood
from raybench.core.types import Kind, Request
from raybench.driver.inspect_rows import inspect_samples
from tests.parity.programs import ROWS, Case, Harness, Mode, engine_of, read_rows

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("parity")]


TEMPLATE = "{% for m in messages %}{{ m.content }}\n{% endfor %}A:"


def found_after_two(path: Path, text: str) -> float:
    """log p(BOS + text | BOS) by the model of transformers, without any of our code."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    tokens = [0, *AutoTokenizer.from_pretrained(path).encode(text)]
    with torch.inference_mode():
        logprobs = model(torch.tensor([tokens[:-1]])).logits[0].log_softmax(-1)
    return float(logprobs[range(len(tokens) - 1), tokens[1:]].sum())


def test_t13_a_text_is_scored_after_one_bos_where_the_harness_scores_bos_after_bos(checkpoints: Any, harness: Harness) -> None:
    from lm_eval.api.instance import Instance

    path = checkpoints["llama-bos"]
    text = read_rows(ROWS / "lambada_openai.jsonl")[0]["text"]
    requests: Any = [Instance(request_type="loglikelihood_rolling", doc={}, arguments=(text,), idx=0)]
    (theirs,) = harness.model(path).loglikelihood_rolling(requests, disable_tqdm=True)
    # the same weights with a tokenizer that adds nothing: here both programs agree
    (plain,) = harness.model(checkpoints["llama"]).loglikelihood_rolling(requests, disable_tqdm=True)

    (found,) = engine_of(path).run([Request(sample_id="s", kind=Kind.ROLLING, prompt=text)])

    assert isinstance(found.output, TextLikelihood)
    assert found.output.logprob == pytest.approx(plain, abs=1e-3)
    assert theirs != pytest.approx(plain, abs=0.1)
    # the first token the harness scores is BOS after BOS
    assert theirs == pytest.approx(found_after_two(path, text), abs=1e-3)


def test_t1_examples_are_drawn_by_sample_and_not_from_one_stream(checkpoints: Any, harness: Harness, ours: Callable[..., Any]) -> None:
    # the harness draws document after document from one generator: with a limit, or on another rank, a document sees other examples
    case = Case(task="piqa", file="piqa/piqa.yaml", source="baber/piqa", rows=ROWS / "piqa.jsonl", ours={"fewshot": "seeded"})
    path = str(checkpoints["llama"])

    def contexts(limit: int, shard_size: int) -> list[str]:
        sized = Case(**{**fields(case), "ours": {"fewshot": "seeded", "shard_size": shard_size}})
        report = ours(path, [sized], Mode(model="llama", shots=2), limit=limit)
        return [s.requests[0].context for s in inspect_samples(report.path, task="piqa")]

    whole = contexts(10, 256)

    assert contexts(4, 2) == whole[:4]
    assert len({c.rpartition("Question:")[0] for c in whole}) > 5


def test_an_overlong_prompt_is_an_error_row_and_not_cut_in_silence(checkpoints: Any) -> None:
    # T14: the harness keeps the end of the prompt; here that is `overlong: truncate_left`
    request = Request(sample_id="s", kind=Kind.LOGLIKELIHOOD, prompt="word " * 300, continuations=("yes",))

    (found,) = engine_of(checkpoints["llama"], max_length=64).run([request])

    assert found.output is None
    assert found.error_code == "overlong"


def test_a_template_without_bos_gets_none(checkpoints: Any, harness: Harness) -> None:
    # a chat template says by itself what a conversation begins with (transformers, "Templates for chat models"); the harness puts BOS before it
    # where the tokenizer adds one to plain texts
    from lm_eval.api.instance import Instance

    request = Request(sample_id="s", kind=Kind.LOGLIKELIHOOD, prompt="Is it raining?", continuations=("yes",))
    pair: Any = [Instance(request_type="loglikelihood", doc={}, arguments=("Is it raining?\nA:", "yes"), idx=0)]
    with_bos, without = (harness.model(checkpoints[n]).loglikelihood(pair, disable_tqdm=True)[0][0] for n in ("llama-bos", "llama"))

    (found,) = engine_of(checkpoints["llama-bos"], chat_template=TEMPLATE).run([request])

    assert isinstance(found.output, Likelihoods)
    assert found.output.logprobs[0] == pytest.approx(without, abs=1e-3)
    assert abs(with_bos - without) > 0.01


def test_t12_a_context_of_blanks_is_no_context_where_the_harness_fails(checkpoints: Any, harness: Harness) -> None:
    from lm_eval.api.instance import Instance

    def pair(context: str, continuation: str) -> Any:
        return [Instance(request_type="loglikelihood", doc={}, arguments=(context, continuation), idx=0)]

    model = harness.model(checkpoints["llama"])
    with pytest.raises(AssertionError):  # all of the context has moved to the continuation
        model.loglikelihood(pair(" ", "bright"), disable_tqdm=True)
    ((expected, _),) = model.loglikelihood(pair("", " bright"), disable_tqdm=True)
    request = Request(sample_id="s", kind=Kind.LOGLIKELIHOOD, prompt=" ", delimiter="", continuations=("bright",))

    (found,) = engine_of(checkpoints["llama"]).run([request])

    assert isinstance(found.output, Likelihoods)
    assert found.output.logprobs[0] == pytest.approx(expected, abs=1e-3)


def test_t16_a_right_answer_of_multirc_is_behind_yes_where_the_harness_looks_for_it_behind_no(
    checkpoints: Any, harness: Harness, ours: Callable[..., Any]
) -> None:
    # in SuperGLUE label 1 means that the answer is right (labels False, True); the harness's choice 1 says "no"
    case = Case(
        task="super_glue/multirc",
        file="super_glue/multirc/default.yaml",
        source="aps/super_glue:multirc",
        rows=ROWS / "labelled" / "multirc.jsonl",
    )
    path, mode = checkpoints["llama"], Mode(model="llama")
    theirs = harness.run(path, [case], mode)

    report = ours(str(path), [case], mode)

    right = []
    for index, found in enumerate(inspect_samples(report.path, task=case.task)):
        (logged,) = [s for s in theirs["samples"][case.task] if s["doc_id"] == index]
        (output,) = [p.output for p in found.predictions]
        assert isinstance(output, Likelihoods)
        assert list(output.logprobs) == pytest.approx([r[0][0] for r in logged["resps"]][::-1], abs=1e-3)
        right.append(float(output.logprobs[1] > output.logprobs[0]) == found.sample.fields["label"])
    assert 0 < sum(right) < len(right)
    assert sum(right) / len(right) == pytest.approx(1 - theirs["results"][case.task]["acc,none"])


def fields(case: Case) -> dict[str, Any]:
    return {name: getattr(case, name) for name in ("task", "file", "source", "rows", "overrides", "shots", "ours")}
