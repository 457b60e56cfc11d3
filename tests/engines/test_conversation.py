from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raybench.core.checkpoint import Checkpoint
from raybench.core.outputs import Generation
from raybench.core.protocols import EngineSpec
from raybench.core.types import ErrorCode, FinishReason, Kind, Prediction, Request, Sampling
from raybench.engines.pytorch_causal import PytorchCausalEngine

ASK = Request(sample_id="s", kind=Kind.GENERATE, prompt="Tell me", sampling=Sampling(max_tokens=8))


def make(folder: Path, **settings: Any) -> PytorchCausalEngine:
    place = Checkpoint(uri=str(folder), path=str(folder), **settings)
    return PytorchCausalEngine(EngineSpec(kind="pytorch", checkpoint=place, options={"threads": 1, "dtype": "float32", "max_length": 160}))


@pytest.fixture(scope="module", params=[None, "auto"])
def engine(tiny_llama: Path, request: pytest.FixtureRequest) -> Iterator[PytorchCausalEngine]:
    engine = make(tiny_llama, chat_template=request.param)
    yield engine
    engine.close()


def output(prediction: Prediction) -> Generation:
    assert isinstance(prediction.output, Generation), prediction.error_message
    return prediction.output


def test_turns_are_answered_as_if_each_were_asked_by_hand(engine: PytorchCausalEngine) -> None:
    asked = [replace(ASK, sample_id=str(i), prompt=f"Tell me {i}", turns=("More?", f"{i} and?")[: i % 3]) for i in range(6)]

    found = engine.run(asked)

    for request, prediction in zip(asked, found, strict=True):
        said: list[str] = []
        for number in range(len(request.turns) + 1):
            assert number == len(said)
            said.append(_alone(engine, engine._prompter.prompt(request, said), request))
        assert output(prediction).turns == (tuple(said) if request.turns else ())
        assert output(prediction).text == said[-1]
        assert prediction.num_output_tokens is not None
        assert prediction.num_output_tokens <= 8 * len(said)


def _alone(engine: PytorchCausalEngine, tokens: list[int], request: Request) -> str:
    """Greedy text of transformers' own generate."""
    import torch

    sampling = request.sampling
    assert sampling is not None
    ids = torch.tensor([tokens])
    options: dict[str, Any] = {"do_sample": False, "max_new_tokens": sampling.max_tokens, "pad_token_id": 1}
    new = engine._loaded.model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), eos_token_id=sorted(engine._loaded.eos), **options
    )
    return str(engine._loaded.tokenizer.decode(new[0, len(tokens) :], skip_special_tokens=True))


def test_token_log_probabilities_are_kept_only_when_asked_for(engine: PytorchCausalEngine) -> None:
    kept, plain = engine.run([replace(ASK, keep_tokens=True, turns=("More?",)), replace(ASK, sample_id="t")])

    logprobs = output(kept).token_logprobs
    assert logprobs is not None
    assert len(logprobs) == kept.num_output_tokens
    assert all(x <= 0 for x in logprobs)
    assert output(plain).token_logprobs is None


def test_a_turn_that_does_not_fit_is_an_error_row_that_names_it(engine: PytorchCausalEngine) -> None:
    row, other = engine.run([replace(ASK, turns=("word " * 60,)), replace(ASK, sample_id="t")])

    assert row.error_code is ErrorCode.OVERLONG
    assert row.error_message is not None
    assert row.error_message.startswith("turn 2: ")
    assert other.output is not None


def test_repeats_of_a_sample_have_its_prompt_and_their_own_draws(engine: PytorchCausalEngine) -> None:
    sampled = replace(ASK, sampling=Sampling(max_tokens=8, temperature=1.5))
    repeats = [replace(sampled, repeat=i, seed=i + 1) for i in range(4)]

    found = engine.run([*repeats, replace(sampled, sample_id="other", prompt="B", seed=1)])

    assert len({output(p).text for p in found[:4]}) > 1
    assert len({p.num_prompt_tokens for p in found[:4]}) == 1
    assert [output(p) for p in engine.run(repeats[2:3])] == [output(found[2])]


def test_reasoning_is_split_off_before_stop_strings_count(tiny_llama: Path) -> None:
    whole = output(make(tiny_llama).run([replace(ASK, sampling=Sampling(max_tokens=24))])[0]).text
    think_end, stop = whole[8:11], whole[2:4]
    assert stop not in whole[11:]

    prediction = make(tiny_llama, think_end=think_end).run([replace(ASK, sampling=Sampling(max_tokens=24, stop=(stop,)))])[0]

    from lm_eval.models.utils import postprocess_generated_text  # 0.4.13; what its vllm backend does with the whole text

    assert output(prediction).text == postprocess_generated_text(whole, [stop], think_end)
    assert output(prediction).reasoning == whole.rpartition(think_end)[0]
    assert prediction.finish_reason in (FinishReason.LENGTH, FinishReason.STOP)
