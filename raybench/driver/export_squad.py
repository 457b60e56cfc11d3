"""The predictions of SQuAD: one JSON object, question to answer, the empty one for no answer; what the official evaluation scripts read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from raybench.core.protocols import Scored
from raybench.driver.inspect_rows import Inspected
from raybench.metrics.squad2 import answers


def render(tasks: Mapping[str, Iterator[Inspected]]) -> bytes:
    """The JSON of `squad` or `squad_v2`, where a question may go without an answer."""
    ((task, samples),) = tasks.items()
    found = {sample.sample.id: _answer(sample, may_be_none=task == "squad_v2") for sample in samples}
    return json.dumps(found, ensure_ascii=False, indent=0).encode()


def _answer(found: Inspected, *, may_be_none: bool) -> str:
    # the score table has what the task's own extraction made of a generation
    scored = Scored(sample=found.sample, predictions=found.predictions, extracted=found.scores[0]["extracted"])
    answer = answers(scored)[0]
    return "" if may_be_none and answer.no_answer > 0 else answer.text
