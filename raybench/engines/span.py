"""Answer spans in passages of any length: overlapping windows, the n best pairs of start and end, and the score of no answer.

As the reference post-processing of transformers (examples/pytorch/question-answering/utils_qa.py, postprocess_qa_predictions), whose
null answer is kept apart here: a metric decides by its own threshold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raybench.core.errors import CheckpointError
from raybench.core.outputs import Spans
from raybench.core.types import ErrorCode, Prediction, Request
from raybench.engines.fit import PromptError
from raybench.engines.net import TokenRow
from raybench.engines.predictions import failed, nonfinite, scored
from raybench.engines.reading import Encoder, Reader, surrogate_error


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanOptions:
    """How places are looked for."""

    doc_stride: int
    """Tokens of a passage that neighbouring windows share."""
    max_answer_tokens: int
    n_best: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """A part of a passage behind its question."""

    row: TokenRow
    offsets: list[tuple[int, int] | None]
    """Of each token: its characters in the passage; None for all that is no passage."""
    null_at: int
    """Place of the special token that stands for no answer."""


def span(encoder: Encoder, requests: Sequence[Request], options: SpanOptions) -> list[Prediction]:
    """Answer `span` requests; the net gives start and end logits [B, L, 2]."""
    found = [_windows(encoder.reader, r, options.doc_stride) for r in requests]
    logits = iter(encoder.net.per_token([w.row for windows in found if not isinstance(windows, PromptError) for w in windows]))
    return [
        failed(request, windows)
        if isinstance(windows, PromptError)
        else _answer(request, windows, [next(logits) for _ in windows], options)
        for request, windows in zip(requests, found, strict=True)
    ]


def _windows(reader: Reader, request: Request, doc_stride: int) -> list[_Window] | PromptError:
    tokenizer, passage = reader.tokenizer, request.pair or ""
    broken = surrogate_error(request.context, passage)
    if broken is not None:
        return broken
    if not passage.strip():
        return PromptError(ErrorCode.EMPTY, "there is nothing to look in: the passage is empty.")
    if not tokenizer.is_fast:
        raise CheckpointError(
            f"the tokenizer {type(tokenizer).__name__} cannot say which characters a token stands for. Expected one with a tokenizer.json; "
            "name another with `tokenizer:` on this model."
        )
    num_question = len(tokenizer.encode(request.context, add_special_tokens=False))
    room = reader.max_length - num_question - tokenizer.num_special_tokens_to_add(pair=True)
    if room <= doc_stride:
        message = f"the question of {num_question} tokens leaves {max(room, 0)} of {reader.max_length} for the passage, whose windows share {doc_stride}. "
        return PromptError(ErrorCode.OVERLONG, message + "Lower engine.doc_stride, or raise engine.max_length if the model allows it.")
    # a model padded on the left has its classification token last: the passage goes first (run_qa.py, pad_on_right)
    first, second = (passage, request.context) if reader.pads_left else (request.context, passage)
    encoded = tokenizer(
        first, second, truncation="only_first" if reader.pads_left else "only_second", max_length=reader.max_length, stride=doc_stride,
        return_overflowing_tokens=True, return_offsets_mapping=True, return_attention_mask=False,
    )  # fmt: skip
    types = encoded.get("token_type_ids")
    mine = 0 if reader.pads_left else 1
    windows = []
    for i, ids in enumerate(encoded["input_ids"]):
        offsets = [o if s == mine else None for o, s in zip(encoded["offset_mapping"][i], encoded.sequence_ids(i), strict=True)]
        null_at = ids.index(tokenizer.cls_token_id) if tokenizer.cls_token_id in ids else 0
        windows.append(_Window(row=TokenRow(ids=ids, types=None if types is None else types[i]), offsets=offsets, null_at=null_at))
    return windows


def _answer(request: Request, windows: Sequence[_Window], logits: Sequence[Any], options: SpanOptions) -> Prediction:
    passage = request.pair or ""
    null_score = math.inf
    candidates: list[tuple[float, int, int]] = []
    for window, logits_T2 in zip(windows, logits, strict=True):
        if not bool(logits_T2.isfinite().all()):
            return nonfinite(request)
        null_score = min(null_score, float(logits_T2[window.null_at].sum()))
        candidates += _best_of(window, logits_T2, options)
    candidates.sort(key=lambda c: (-c[0], c[1], c[2]))
    best = list(dict.fromkeys(candidates))[: options.n_best]
    output = Spans(
        texts=tuple(passage[start:stop] for _, start, stop in best),
        starts=tuple(start for _, start, _ in best),
        stops=tuple(stop for _, _, stop in best),
        scores=tuple(score for score, _, _ in best),
        null_score=null_score,
    )
    return scored(request, output, num_prompt_tokens=sum(len(w.row.ids) for w in windows))


def _best_of(window: _Window, logits_T2: Any, options: SpanOptions) -> list[tuple[float, int, int]]:
    """(score, start, stop) of the pairs among the n best starts and the n best ends of a window, in characters of the passage."""
    starts, stops = (_highest(logits_T2[:, k].tolist(), options.n_best) for k in range(2))
    found = []
    for i, start_logit in starts:
        for j, stop_logit in stops:
            begin, end = window.offsets[i], window.offsets[j]
            if begin is None or end is None or not i <= j < i + options.max_answer_tokens:
                continue
            found.append((start_logit + stop_logit, begin[0], end[1]))
    return found


def _highest(values: list[float], count: int) -> list[tuple[int, float]]:
    return sorted(enumerate(values), key=lambda item: (-item[1], item[0]))[:count]
