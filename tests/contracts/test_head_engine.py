"""What the driver may rely on, of every engine that is no decoder: one suite for heads, encoder-decoders and plain modules, padding on either side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from raybench.core.checkpoint import Checkpoint, Module
from raybench.core.protocols import Engine, EngineSpec
from raybench.core.schema import from_batch, to_batch
from raybench.core.types import ErrorCode, Kind, Request, Sampling
from raybench.engines.registry import make_engine
from tests.tiny_models import LABELS, TAGS, label_names, make_checkpoint, make_tokenizer

WORDS = ("one", "two", "three", "and", "a", "much", "longer", "word")
ENCODERS = ("bert", "roberta", "albert", "xlnet", "electra", "ernie", "macbert", "gpt2", "llama")
CLASSIFIER, TAGGER, FINDER = ("AutoModelForSequenceClassification", "AutoModelForTokenClassification", "AutoModelForQuestionAnswering")


@dataclass(frozen=True, kw_only=True)
class Case:
    """An engine and the kinds it is asked."""

    family: str
    auto: str
    kinds: tuple[Kind, ...]
    side: str = "right"

    def __str__(self) -> str:
        return f"{self.family}-{self.auto.removeprefix('AutoModel') or 'Model'}-{self.side}"


CASES = [
    *[Case(family=f, auto=CLASSIFIER, kinds=(Kind.CLASSIFY,), side="left") for f in ENCODERS],
    *[Case(family=f, auto=TAGGER, kinds=(Kind.TAG,)) for f in ENCODERS],
    *[Case(family=f, auto=FINDER, kinds=(Kind.SPAN,)) for f in ENCODERS],
    *[Case(family=f, auto="AutoModelForMaskedLM", kinds=(Kind.FILL, Kind.EMBED), side="left") for f in ENCODERS if f not in ("xlnet", "gpt2", "llama")],
    *[Case(family=f, auto="AutoModelForSeq2SeqLM", kinds=(Kind.GENERATE, Kind.LOGLIKELIHOOD), side="left") for f in ("t5", "bart", "marian")],
    Case(family="module", auto="causal", kinds=(Kind.GENERATE, Kind.LOGLIKELIHOOD, Kind.ROLLING)),
    Case(family="module", auto="masked", kinds=(Kind.FILL,)),
]  # fmt: skip


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture(scope="module")
def engine(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp(case.family)
    if case.family == "module":
        checkpoint, options = scratch(folder, case), {"max_length": 16}
    else:
        names = {CLASSIFIER: label_names(LABELS), TAGGER: label_names(TAGS)}.get(case.auto, {})
        make_checkpoint(folder, case.family, case.auto, tokenizer={"padding_side": case.side}, **names)
        checkpoint, options = Checkpoint(uri=str(folder), path=str(folder), identity="tiny"), {"max_length": 100}
    engine = make_engine(EngineSpec(kind="pytorch", checkpoint=checkpoint, options={"threads": 1, "doc_stride": 8, **options}))
    yield engine
    engine.close()


def scratch(folder: Path, case: Case) -> Checkpoint:
    import torch

    from configs.scratch import models

    torch.manual_seed(0)
    torch.save(getattr(models, case.auto)(vocabulary=263).state_dict(), folder / "state.pt")
    make_tokenizer("plain").save_pretrained(folder)
    module = Module(factory=f"configs.scratch.models:{case.auto}", kinds=case.kinds, arguments={"vocabulary": 263})
    return Checkpoint(uri="state.pt", path=str(folder / "state.pt"), identity="scratch", tokenizer=str(folder), module=module)


def ask(kind: Kind, i: int, text: str) -> Request:
    more: dict[Kind, dict[str, Any]] = {
        Kind.CLASSIFY: {"prompt": text, "labels": LABELS},
        Kind.TAG: {"words": tuple(text.split()), "labels": TAGS},
        Kind.SPAN: {"prompt": "who?", "pair": text},
        Kind.FILL: {"prompt": f"{text}[MASK]", "continuations": ("a", "bc")},
        Kind.GENERATE: {"prompt": text, "sampling": Sampling(max_tokens=3)},
        Kind.LOGLIKELIHOOD: {"prompt": text, "continuations": ("x", "yz")},
    }
    return Request(sample_id=str(i), kind=kind, **more.get(kind, {"prompt": text}))


def shard(kind: Kind) -> list[Request]:
    return [ask(kind, i, (word + " ") * (1 + i % 2) + word[0]) for i, word in enumerate(WORDS[:5])]


def test_it_declares_what_it_serves(engine: Engine, case: Case) -> None:
    assert isinstance(engine, Engine)
    assert engine.kinds == set(case.kinds)
    assert (engine.concurrency, engine.reproducible) == (1, "exact")


def test_answers_are_one_to_one_in_order_and_the_same_again(engine: Engine, case: Case) -> None:
    for kind in case.kinds:
        requests, before = shard(kind), engine.progress()

        answers = engine.run(requests)

        assert [(a.sample_id, a.request, a.repeat) for a in answers] == [r.key for r in requests]
        assert [a.error_message for a in answers] == [None] * len(requests)
        assert all(a.num_prompt_tokens for a in answers)
        assert engine.progress() > before
        assert engine.run(requests) == answers
        assert from_batch(to_batch(answers, kind), kind) == list(answers)


def test_one_request_too_long_is_one_error_row(engine: Engine, case: Case) -> None:
    for kind in set(case.kinds) - {Kind.SPAN, Kind.ROLLING}:  # these are read in windows
        requests = shard(kind)
        long = replace(ask(kind, 99, "word " * 60), sample_id="long")

        *others, row = engine.run([*requests, long])

        assert (row.error_code, row.output) == (ErrorCode.OVERLONG, None)
        assert row.error_message
        assert others == list(engine.run(requests))


def test_what_is_longer_than_a_window_is_read_in_several(engine: Engine, case: Case) -> None:
    for kind in set(case.kinds) & {Kind.SPAN, Kind.ROLLING}:
        row = engine.run([ask(kind, 0, "word " * 60)])[0]

        assert row.error_code is None
        assert (row.num_prompt_tokens or 0) >= 300


def test_other_kinds_are_refused_by_row_and_no_requests_give_no_rows(engine: Engine, case: Case) -> None:
    other = next(k for k in Kind if k not in case.kinds)

    assert engine.run([]) == []
    assert engine.run([ask(other, 0, "a b")])[0].error_code is ErrorCode.REFUSED
