"""Label logits and vectors from vLLM's pooling models, against the PyTorch engine on the same weights in float32."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from raybench.core.checkpoint import Checkpoint
from raybench.core.outputs import Classification, Embedding
from raybench.core.protocols import Engine, EngineSpec
from raybench.core.types import ErrorCode, Kind, Request
from raybench.engines.families import served_by_vllm
from raybench.engines.registry import make_engine
from tests.tiny_models import LABELS, label_names, make_checkpoint

OPTIONS = {"threads": 1, "device": "cpu", "dtype": "float32"}
WIDE = {"num_attention_heads": 1}
"""Heads of 32: vLLM's kernels for CPUs know none that are smaller."""
TEXTS = ("a film that was well made", "no", "the same jokes again and again and again", "a", "half of it is good, the other half is not")


def test_what_vllm_is_asked_follows_from_the_architecture() -> None:
    assert served_by_vllm(["BertForSequenceClassification"]) == (Kind.CLASSIFY,)
    assert served_by_vllm(["BertModel"]) == (Kind.EMBED,)
    assert served_by_vllm(["LlamaForCausalLM"]) == served_by_vllm([]) == (Kind.GENERATE, Kind.LOGLIKELIHOOD, Kind.ROLLING)
    assert served_by_vllm(["T5ForConditionalGeneration"]) == ()
    assert served_by_vllm(["BertForTokenClassification"]) == ()


def both(checkpoint: Checkpoint, **options: Any) -> tuple[Engine, Engine]:
    cache = {"kv_cache_memory_bytes": 1 << 28, "max_num_seqs": 8}
    return tuple(  # type: ignore[return-value]
        make_engine(EngineSpec(kind=kind, checkpoint=checkpoint, options={**OPTIONS, **options, **more}))
        for kind, more in (("pytorch", {}), ("vllm", cache))
    )


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Engine]]:
    folder = make_checkpoint(tmp_path_factory.mktemp("bert"), "bert", "AutoModelForSequenceClassification", **WIDE, **label_names(LABELS))
    found = both(Checkpoint(uri="bert", path=str(folder), identity="bert"), overlong="truncate_right", max_length=24)
    yield found
    for engine in found:
        engine.close()


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Engine]]:
    folder = make_checkpoint(tmp_path_factory.mktemp("bert"), "bert", "AutoModel", **WIDE)
    found = both(Checkpoint(uri="bert", path=str(folder), identity="bert"))
    yield found
    for engine in found:
        engine.close()


@pytest.mark.vllm
def test_logits_of_sentences_and_pairs_are_those_of_the_pytorch_engine(classifiers: tuple[Engine, Engine]) -> None:
    ask = [Request(sample_id=str(i), kind=Kind.CLASSIFY, prompt=t, labels=LABELS) for i, t in enumerate(TEXTS)]
    ask += [Request(sample_id=f"p{i}", kind=Kind.CLASSIFY, prompt=t[:8], pair=TEXTS[0][:9], labels=LABELS) for i, t in enumerate(TEXTS)]

    expected, found = (engine.run(ask) for engine in classifiers)

    assert len({p.output.label for p in expected if isinstance(p.output, Classification)}) > 1  # the model does tell texts apart
    for a, b in zip(expected, found, strict=True):
        assert isinstance(a.output, Classification)
        assert isinstance(b.output, Classification)
        assert b.output.logits == pytest.approx(a.output.logits, abs=1e-4)
        assert b.output.label == a.output.label
        assert (b.num_prompt_tokens, b.num_truncated_tokens) == (a.num_prompt_tokens, a.num_truncated_tokens)
    assert any(p.num_truncated_tokens for p in found)  # 24 tokens are few


@pytest.mark.vllm
def test_vectors_are_those_of_the_pytorch_engine(encoders: tuple[Engine, Engine]) -> None:
    ask = [Request(sample_id=str(i), kind=Kind.EMBED, prompt=t) for i, t in enumerate(TEXTS)]

    expected, found = (engine.run(ask) for engine in encoders)

    for a, b in zip(expected, found, strict=True):
        assert isinstance(a.output, Embedding)
        assert isinstance(b.output, Embedding)
        assert b.output.vector == pytest.approx(a.output.vector, abs=1e-4)


@pytest.mark.vllm
def test_what_the_head_is_not_for_and_what_does_not_fit_are_error_rows(encoders: tuple[Engine, Engine]) -> None:
    ask = [
        Request(sample_id="0", kind=Kind.CLASSIFY, prompt="a", labels=LABELS),
        Request(sample_id="1", kind=Kind.EMBED, prompt="long " * 100),
        Request(sample_id="2", kind=Kind.EMBED, prompt="a"),
    ]

    expected, found = (engine.run(ask) for engine in encoders)

    assert [p.error_code for p in found] == [p.error_code for p in expected] == [ErrorCode.REFUSED, ErrorCode.OVERLONG, None]
    assert [p.error_message for p in found] == [p.error_message for p in expected]
