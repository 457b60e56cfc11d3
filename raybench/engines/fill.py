"""What a masked language model expects at a place, and how likely it finds a whole text, one masked token at a time.

A candidate of several tokens, and a text, get a pseudo-log-likelihood: each of their tokens is masked in turn while the others stand, and
the log-probabilities are added (Salazar et al. 2020, Masked Language Model Scoring). For one token that is its log-probability.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from raybench.core.types import MASK, ErrorCode, Likelihoods, Prediction, Request
from raybench.engines.fit import PromptError
from raybench.engines.net import TokenRow
from raybench.engines.predictions import failed, nonfinite, scored
from raybench.engines.reading import Encoder, Reader, surrogate_error, too_long


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """One masked token: a row, the place in it, and the token that is looked for."""

    row: tuple[int, ...]
    place: int
    token: int


_Candidates = list[list[_Question]]


def fill(encoder: Encoder, requests: Sequence[Request]) -> list[Prediction]:
    """Answer `fill` requests; the net gives logits over the vocabulary. Equal rows are run once."""
    reader, tokenizer = encoder.reader, encoder.reader.tokenizer
    found = [_texts(reader, r) if r.continuations == () else _candidates(reader, r) for r in requests]
    questions = [q for item in found if not isinstance(item, PromptError) for candidate in item for q in candidate]
    places = {(q.row, q.place): n for n, q in reversed(list(enumerate(questions)))}
    unique = list(places)
    tokens: dict[tuple[tuple[int, ...], int], list[int]] = {}
    for q in questions:
        tokens.setdefault((q.row, q.place), []).append(q.token)
    rows = [TokenRow(ids=list(row), types=_types(tokenizer, row)) for row, _ in unique]
    answers: dict[_Question, tuple[float, bool]] = {}
    for members, logits_BV in encoder.net.at(rows, [place for _, place in unique], len(tokenizer)):
        best, logprobs_BV = logits_BV.argmax(-1).tolist(), logits_BV.log_softmax(-1)
        for b, i in enumerate(members):
            wanted = list(dict.fromkeys(tokens[unique[i]]))
            for token, logprob in zip(wanted, logprobs_BV[b, wanted].tolist(), strict=True):
                answers[_Question(row=unique[i][0], place=unique[i][1], token=token)] = logprob, best[b] == token
    return [
        failed(r, item) if isinstance(item, PromptError) else _answer(r, item, answers) for r, item in zip(requests, found, strict=True)
    ]


def _answer(request: Request, candidates: _Candidates, answers: dict[_Question, tuple[float, bool]]) -> Prediction:
    sums = [math.fsum(answers[q][0] for q in candidate) for candidate in candidates]
    if not all(map(math.isfinite, sums)):
        return nonfinite(request)
    output = Likelihoods(
        logprobs=tuple(sums),
        is_greedy=tuple(all(answers[q][1] for q in candidate) for candidate in candidates),
        num_tokens=tuple(map(len, candidates)),
        token_logprobs=tuple(tuple(answers[q][0] for q in candidate) for candidate in candidates) if request.keep_tokens else None,
    )
    return scored(request, output, num_prompt_tokens=max(len(q.row) for candidate in candidates for q in candidate))


def _texts(reader: Reader, request: Request) -> _Candidates | PromptError:
    """The whole text as one candidate: each token but the special ones."""
    text = request.context
    broken = surrogate_error(text)
    if broken is not None:
        return broken
    ids = list(reader.tokenizer(text, return_attention_mask=False)["input_ids"])
    special = reader.tokenizer.get_special_tokens_mask(ids, already_has_special_tokens=True)
    if len(ids) > reader.max_length:
        return too_long(len(ids), reader.max_length)
    questions = _masked(reader, ids, [k for k, is_special in enumerate(special) if not is_special])
    return [questions] if questions else PromptError(ErrorCode.EMPTY, "there is nothing to score: the text has no tokens.")


def _candidates(reader: Reader, request: Request) -> _Candidates | PromptError:
    tokenizer, text = reader.tokenizer, request.context
    broken = surrogate_error(text, *request.continuations)
    if broken is not None:
        return broken
    if text.count(MASK) != 1:
        return PromptError(
            ErrorCode.REFUSED, f"the prompt holds {text.count(MASK)} times {MASK}. Expected it once, at the place to be filled."
        )
    masked = list(tokenizer(text.replace(MASK, tokenizer.mask_token), return_attention_mask=False)["input_ids"])
    if masked.count(tokenizer.mask_token_id) != 1:
        return PromptError(ErrorCode.REFUSED, f"the prompt holds the model's own mask token {tokenizer.mask_token} besides {MASK}.")
    at = masked.index(tokenizer.mask_token_id)
    before, after = masked[:at], masked[at + 1 :]
    found: _Candidates = []
    for candidate in request.continuations:
        ids = list(tokenizer(text.replace(MASK, candidate), return_attention_mask=False)["input_ids"])
        if ids[:at] != before or ids[len(ids) - len(after) :] != after or len(ids) < len(masked) - 1:
            # the tokenizer joins the candidate with its neighbours: its own tokens stand between theirs
            own = tokenizer.encode((" " if text[: text.index(MASK)].endswith(" ") else "") + candidate, add_special_tokens=False)
            ids = [*before, *own, *after]
        if len(ids) > reader.max_length:
            return too_long(len(ids), reader.max_length)
        places = range(at, len(ids) - len(after))
        if not places:
            return PromptError(ErrorCode.EMPTY, f"there is nothing to score: {candidate[:40]!r} has no tokens.")
        found.append(_masked(reader, ids, list(places)))
    return found


def _masked(reader: Reader, ids: list[int], places: list[int]) -> list[_Question]:
    """A row for each place, with the mask there."""
    mask = reader.tokenizer.mask_token_id
    return [_Question(row=(*ids[:k], mask, *ids[k + 1 :]), place=k, token=ids[k]) for k in places]


def _types(tokenizer: object, row: Sequence[int]) -> list[int] | None:
    names = getattr(tokenizer, "model_input_names", ())
    return [0] * len(row) if "token_type_ids" in names else None
