"""What a user would bring: tasks, groups, an engine and a metric of one's own, named `tests.own:NAME` in configurations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from raybench.core.checkpoint import Checkpoint
from raybench.core.outputs import Generation, Likelihoods
from raybench.core.protocols import EngineSpec
from raybench.core.types import FinishReason, Kind, Prediction, Request, Sample
from raybench.metrics.mean import Mean
from raybench.tasks import quickstart
from raybench.tasks.task import Form, Group, Source, Task

CHOICE_FILE = "package://raybench.tasks/data/quickstart_choice.jsonl"


def _sample(row: Mapping[str, Any], default_id: str) -> Sample:
    """A question; those of one topic stand on their own."""
    return replace(quickstart.choice_sample(row, default_id), cluster=None)


def _topic(topic: str) -> Task:
    """The questions of one topic of quickstart/choice: a subject, as MMLU has them."""
    return Task(
        name=f"own/{topic}",
        version="1",
        source=Source(path=CHOICE_FILE, split="choice", where={"topic": topic}),
        to_sample=_sample,
        forms={Kind.LOGLIKELIHOOD: Form(to_prompt=quickstart.choice_prompt, metrics=("acc",))},
    )


BIOLOGY, PHYSICS, HISTORY, LANGUAGE = (_topic(t) for t in ("biology", "physics", "history", "language"))
SCIENCES = Group(name="own/sciences", members=("tests.own:BIOLOGY", "tests.own:PHYSICS"), metric="acc")
ARTS = Group(name="own/arts", members=("tests.own:HISTORY", "tests.own:LANGUAGE"), metric="acc", weights="equal")
EXAM = Group(name="own/exam", members=("tests.own:SCIENCES", "tests.own:ARTS"), metric="acc")
EXAM_EQUAL = Group(name="own/exam-equal", members=("tests.own:SCIENCES", "tests.own:HISTORY"), metric="acc", weights="equal")

LENGTH = Mean(
    name="length", score_of=lambda scored: float(len(scored.extracted[0] or "")), stats=("characters",), signature="unit:characters"
)
"""A metric of one's own: characters of the answer."""


class OwnEngine:
    """Answers `colour` and the number of the repeat; the first option is the most likely one."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.GENERATE, Kind.LOGLIKELIHOOD})
    concurrency = 1
    reproducible: Literal["exact", "measured"] = "measured"

    def __init__(self, spec: EngineSpec) -> None:
        self._colour = str(spec.options.get("colour", "grey"))

    def load(self, checkpoint: Checkpoint) -> bool:
        return False

    def progress(self) -> int:
        return 0

    def close(self) -> None:
        pass

    def run(self, requests: Sequence[Request]) -> list[Prediction]:
        return [self._answer(r) for r in requests]

    def _answer(self, request: Request) -> Prediction:
        key: dict[str, Any] = {"sample_id": request.sample_id, "request": request.request, "repeat": request.repeat}
        if request.kind is Kind.GENERATE:
            return Prediction(**key, finish_reason=FinishReason.STOP, output=Generation(text=f"{self._colour} {request.repeat}"))
        n = len(request.continuations)
        output = Likelihoods(logprobs=tuple(-1.0 - i for i in range(n)), is_greedy=(True,) * n, num_tokens=(1,) * n)
        return Prediction(**key, finish_reason=FinishReason.SCORED, output=output)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Rows as a JSON Lines file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def echo_task(path: Path, rows: Sequence[Mapping[str, Any]], **changes: Any) -> dict[str, Any]:
    """A declared task whose question is the answer that the fake engine with `answer: echo` is to give: rows have `says` and `target`."""
    write_rows(path, rows)
    task = {"name": "echo", "source": {"path": str(path)}, "kind": "generate", "prompt": "{{ says }}", "target": "{{ target }}"}
    return {**task, **changes}


def choice_task(path: Path, labels: Sequence[int], *, clusters: Sequence[str | None] | None = None, **changes: Any) -> dict[str, Any]:
    """A declared task of two options; the fake engine with `answer: first` always takes option 0."""
    rows = [{"q": f"question {i}", "right": label} for i, label in enumerate(labels)]
    if clusters is not None:
        rows = [{**row, "passage": c} for row, c in zip(rows, clusters, strict=True)]
        changes = {"cluster": "passage", **changes}
    write_rows(path, rows)
    task = {"name": "pick", "source": {"path": str(path)}, "kind": "loglikelihood", "prompt": "{{ q }}", "choices": ["yes", "no"]}
    return {**task, "target": "{{ right }}", **changes}
