"""Label logits of sentences and pairs, in the order of the task's labels."""

from __future__ import annotations

import math
from collections.abc import Sequence

from raybench.core.outputs import Classification
from raybench.core.types import Prediction, Request
from raybench.engines.labels import order_of
from raybench.engines.predictions import nonfinite, scored
from raybench.engines.reading import Head, Read, answer_readable


def classify(head: Head, requests: Sequence[Request]) -> list[Prediction]:
    """Answer `classify` requests.

    Raises:
        ConfigError: when the head's labels are not the task's.
    """
    orders = {
        labels: order_of(head.labels, labels, head.label_map, where=head.where) for labels in dict.fromkeys(r.labels for r in requests)
    }

    def answer(asked: list[Request], read: list[Read]) -> list[Prediction]:
        rows = head.net.per_row([r.row for r in read])
        return [_answer(request, r, row.tolist(), orders[request.labels]) for request, r, row in zip(asked, read, rows, strict=True)]

    return answer_readable(requests, head.reader.read(requests), answer)


def _answer(request: Request, read: Read, logits: list[float], order: list[int]) -> Prediction:
    mine = tuple(logits[i] for i in order)
    if not all(map(math.isfinite, mine)):
        return nonfinite(request)
    label = request.labels[mine.index(max(mine))] if request.labels else None
    return scored(request, Classification(logits=mine, label=label), num_prompt_tokens=len(read.row.ids), num_truncated=read.num_truncated)
