"""Encoder-decoders against transformers' own `generate`, and against lm-evaluation-harness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raybench.core.checkpoint import Checkpoint
from raybench.core.errors import CheckpointError
from raybench.core.outputs import Generation, Likelihoods
from raybench.core.protocols import Engine, EngineSpec
from raybench.core.types import ErrorCode, FinishReason, Kind, Prediction, Request, Sampling
from raybench.engines.registry import make_engine
from tests.tiny_models import make_checkpoint

FAMILIES = ("t5", "bart", "marian")
AUTO = "AutoModelForSeq2SeqLM"
PROMPTS = ("translate this", "a", "summarize: a longer text, with some words more than the others have", "what is it?", "b " * 30)


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp(request.param), request.param, AUTO)


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    return engine_of(folder)


@pytest.fixture(scope="module")
def reference(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer by transformers alone, its generation config emptied but for the start token."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    return AutoModelForSeq2SeqLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def engine_of(folder: Path, **options: Any) -> Engine:
    checkpoint = Checkpoint(uri=str(folder), path=str(folder), identity="tiny")
    return make_engine(EngineSpec(kind="pytorch", checkpoint=checkpoint, options={"threads": 1, **options}))


def asked(prompt: str, **sampling: Any) -> Request:
    return Request(sample_id=prompt, kind=Kind.GENERATE, prompt=prompt, sampling=Sampling(**{"max_tokens": 12, **sampling}), seed=7)


def generated(prediction: Prediction) -> Generation:
    assert prediction.error_message is None
    assert isinstance(prediction.output, Generation)
    return prediction.output


@pytest.mark.parametrize(
    "sampling",
    [
        {},
        {"repetition_penalty": 1.7},
        {"no_repeat_ngram_size": 2},
        {"num_beams": 3},
        {"num_beams": 4, "length_penalty": 2.0, "num_return_sequences": 3},
        {"num_beams": 4, "length_penalty": -1.0, "early_stopping": True, "no_repeat_ngram_size": 1},
    ],
    ids=["greedy", "repetition", "ngrams", "beams", "several", "early"],
)
def test_answers_are_those_of_generate_on_single_rows(engine: Engine, reference: tuple[Any, Any], sampling: dict[str, Any]) -> None:
    model, tokenizer = reference

    answers = engine.run([asked(p, **sampling) for p in PROMPTS])

    for prompt, answer in zip(PROMPTS, answers, strict=True):
        inputs = tokenizer(prompt, return_tensors="pt")
        expected = model.generate(**inputs, max_new_tokens=12, do_sample=False, **sampling)
        texts = tokenizer.batch_decode(expected, skip_special_tokens=True)
        assert [generated(answer).text, *generated(answer).alternatives] == texts


def test_drawn_answers_are_those_of_generate_after_the_seed(engine: Engine, reference: tuple[Any, Any]) -> None:
    import torch

    model, tokenizer = reference
    before = torch.random.get_rng_state()

    answers = engine.run([asked(p, temperature=0.8, top_k=20, top_p=0.9) for p in PROMPTS])

    assert torch.equal(before, torch.random.get_rng_state())  # the global generator is where it was
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        torch.manual_seed(7)
        inputs = tokenizer(prompt, return_tensors="pt")
        expected = model.generate(**inputs, max_new_tokens=12, do_sample=True, temperature=0.8, top_k=20, top_p=0.9)
        assert generated(answer).text == tokenizer.decode(expected[0], skip_special_tokens=True)


def test_a_checkpoint_s_own_sampling_does_not_reach_an_answer(folder: Path, engine: Engine, tmp_path: Path) -> None:
    import json
    import shutil

    copy = shutil.copytree(folder, tmp_path / "copy")
    file = copy / "generation_config.json"
    own = json.loads(file.read_text())
    file.write_text(json.dumps({**own, "num_beams": 5, "repetition_penalty": 3.0, "min_length": 12, "max_length": 3, "do_sample": True}))

    requests = [asked(p) for p in PROMPTS]

    assert engine_of(copy).run(requests) == engine.run(requests)


def test_an_answer_is_cut_at_a_stop_string_and_says_so(engine: Engine) -> None:
    whole = generated(engine.run([asked("translate this")])[0]).text
    stop = whole[4:6]

    answer = engine.run([asked("translate this", stop=("never", stop)), asked("a")])[0]

    assert generated(answer).text == whole[: whole.index(stop)]
    assert answer.finish_reason is FinishReason.STOP
    assert answer.num_output_tokens is not None
    assert answer.num_output_tokens <= 12


def test_an_answer_that_is_not_ended_says_so(engine: Engine, reference: tuple[Any, Any]) -> None:
    model, tokenizer = reference
    answer = engine.run([asked("a", max_tokens=2)])[0]

    ids = model.generate(**tokenizer("a", return_tensors="pt"), max_new_tokens=2, do_sample=False)[0, 1:].tolist()

    is_ended = tokenizer.eos_token_id in ids
    assert answer.finish_reason is (FinishReason.STOP if is_ended else FinishReason.LENGTH)
    assert answer.num_output_tokens == (ids.index(tokenizer.eos_token_id) + 1 if is_ended else 2)


def test_log_probabilities_of_generated_tokens_are_the_model_s(engine: Engine, reference: tuple[Any, Any]) -> None:
    from dataclasses import replace

    import torch

    model, tokenizer = reference

    answer = engine.run([replace(asked("what is it?", repetition_penalty=2.0), keep_tokens=True)])[0]

    inputs = tokenizer("what is it?", return_tensors="pt")
    result = model.generate(
        **inputs, max_new_tokens=12, do_sample=False, repetition_penalty=2.0, output_logits=True, return_dict_in_generate=True
    )
    new = result.sequences[0, 1:].tolist()
    new = new[: new.index(tokenizer.eos_token_id) + 1] if tokenizer.eos_token_id in new else new
    expected = [torch.log_softmax(step[0], -1)[t].item() for step, t in zip(result.logits, new, strict=False)]
    assert generated(answer).token_logprobs == pytest.approx(expected, abs=1e-4)


def test_likelihoods_are_those_of_the_harness(folder: Path, engine: Engine) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    harness = HFLM(pretrained=str(folder), backend="seq2seq", device="cpu", dtype="float32", batch_size=1)
    pairs = [(p, c) for p in (*PROMPTS, "with a space at its end ") for c in (" yes", " no, never", "x")]
    instances = [Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=0) for pair in pairs]

    expected = harness.loglikelihood(instances, disable_tqdm=True)
    requests = [
        Request(
            sample_id=str(i), kind=Kind.LOGLIKELIHOOD, prompt=p, delimiter="", continuations=(" yes", " no, never", "x"), keep_tokens=True
        )
        for i, p in enumerate(dict.fromkeys(p for p, _ in pairs))
    ]
    found = [answer.output for answer in engine.run(requests)]

    scores = [(s, g) for o in found if isinstance(o, Likelihoods) for s, g in zip(o.logprobs, o.is_greedy, strict=True)]
    assert [g for _, g in scores] == [g for _, g in expected]
    assert [s for s, _ in scores] == pytest.approx([s for s, _ in expected], abs=1e-4)
    assert all(
        sum(parts) == pytest.approx(total, abs=1e-9)
        for o in found
        if isinstance(o, Likelihoods) and o.token_logprobs
        for parts, total in zip(o.token_logprobs, o.logprobs, strict=True)
    )


def test_a_greedy_answer_is_the_most_likely_continuation(engine: Engine) -> None:
    text = generated(engine.run([asked("translate this", max_tokens=3)])[0]).text

    score = engine.run([Request(sample_id="0", kind=Kind.LOGLIKELIHOOD, prompt="translate this", delimiter="", continuations=(text,))])[
        0
    ].output

    assert isinstance(score, Likelihoods)
    assert score.is_greedy == (True,)


def test_requests_at_fault_are_error_rows(folder: Path) -> None:
    engine = engine_of(folder, max_length=40)

    rows = engine.run(
        [
            asked("long " * 30),
            asked("a", max_tokens=41),
            Request(sample_id="t", kind=Kind.GENERATE, prompt="a", turns=("b",), sampling=Sampling(max_tokens=3)),
            Request(sample_id="l", kind=Kind.LOGLIKELIHOOD, prompt="a", continuations=("b " * 60,)),
            Request(sample_id="e", kind=Kind.LOGLIKELIHOOD, prompt="a", continuations=()),
            Request(sample_id="r", kind=Kind.ROLLING, prompt="a"),
            asked("good"),
        ]
    )

    assert [r.error_code for r in rows] == [
        ErrorCode.OVERLONG, ErrorCode.OVERLONG, ErrorCode.REFUSED, ErrorCode.OVERLONG, ErrorCode.EMPTY, ErrorCode.REFUSED, None,
    ]  # fmt: skip


def test_weights_that_give_no_numbers_are_error_rows(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = make_checkpoint(tmp_path / "nan", "t5", AUTO)
    state = load_file(folder / "model.safetensors")
    name = next(n for n in state if n.startswith("decoder") and "layer_norm" in n)
    state[name] = torch.full_like(state[name], float("nan"))
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    engine = engine_of(folder)

    rows = engine.run(
        [asked("a"), asked("b", temperature=1.0), asked("c", num_beams=2), Request(sample_id="0", kind=Kind.LOGLIKELIHOOD, prompt="a", continuations=("b",))]
    )  # fmt: skip

    assert {r.error_code for r in rows} == {ErrorCode.NONFINITE}


def test_a_checkpoint_that_does_not_say_how_an_answer_begins_is_refused(tmp_path: Path) -> None:
    import json

    folder = make_checkpoint(tmp_path / "startless", "t5", AUTO)
    for name in ("config.json", "generation_config.json"):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({k: v for k, v in content.items() if k != "decoder_start_token_id"}))

    with pytest.raises(CheckpointError, match="has a decoder_start_token_id"):
        engine_of(folder)


def test_other_weights_are_swapped_in(tmp_path: Path) -> None:
    one, two = (make_checkpoint(tmp_path / str(s), "bart", AUTO, seed=s) for s in (1, 2))
    engine, requests = engine_of(one), [asked(p, num_beams=2) for p in PROMPTS]
    engine.run(requests)

    assert engine.load(Checkpoint(uri=str(two), path=str(two), identity="two"))
    assert engine.run(requests) == engine_of(two).run(requests)
