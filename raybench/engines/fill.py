"""What a masked language model expects at a place, and how likely it finds a whole text: one masked token at a time, or many masked at once.

A candidate of several tokens, and a text, get a pseudo-log-likelihood: each of their tokens is masked in turn while the others stand, and
the log-probabilities are added (Salazar et al. 2020, Masked Language Model Scoring). For one token that is its log-probability.

With a share to mask, a text gets the log-probabilities of that share of its tokens, all masked at once: the loss that such models are trained with
(Devlin et al. 2019, section 3.1, but always with the mask token). Which ones follows from the sample id and the places alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from raybench.core.fingerprint import seed_for
from raybench.core.outputs import Likelihoods
from raybench.core.types import MASK, ErrorCode, Prediction, Request
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


def fill(encoder: Encoder, requests: Sequence[Request], *, mask_share: float | None = None) -> list[Prediction]:
    """Answer `fill` requests. Equal rows are run once.

    Args:
        encoder: Its net gives logits over the vocabulary.
        requests: What is asked.
        mask_share: Share of a text's tokens that are masked at once; None: each in turn.
    """
    reader, tokenizer = encoder.reader, encoder.reader.tokenizer
    found = [_texts(reader, r, mask_share) if r.continuations == () else _candidates(reader, r) for r in requests]
    tokens: dict[tuple[int, ...], dict[int, list[int]]] = {}  # row, place: what is looked for there
    for item in found:
        for q in [] if isinstance(item, PromptError) else chain.from_iterable(item):
            tokens.setdefault(q.row, {}).setdefault(q.place, []).append(q.token)
    unique = list(tokens)
    rows = [TokenRow(ids=list(row), types=_types(tokenizer, row)) for row in unique]
    answers: dict[_Question, tuple[float, bool]] = {}
    for where, logits_NV in encoder.net.at(rows, [list(places) for places in tokens.values()], len(tokenizer)):
        best, logprobs_NV = logits_NV.argmax(-1).tolist(), logits_NV.log_softmax(-1)
        for n, (i, place) in enumerate(where):
            wanted = list(dict.fromkeys(tokens[unique[i]][place]))
            for token, logprob in zip(wanted, logprobs_NV[n, wanted].tolist(), strict=True):
                answers[_Question(row=unique[i], place=place, token=token)] = logprob, best[n] == token
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


def _texts(reader: Reader, request: Request, mask_share: float | None) -> _Candidates | PromptError:
    """The whole text as one candidate: each token but the special ones, or a share of them."""
    text = request.context
    broken = surrogate_error(text)
    if broken is not None:
        return broken
    ids = list(reader.tokenizer(text, return_attention_mask=False)["input_ids"])
    special = reader.tokenizer.get_special_tokens_mask(ids, already_has_special_tokens=True)
    if len(ids) > reader.max_length:
        return too_long(len(ids), reader.max_length)
    places = [k for k, is_special in enumerate(special) if not is_special]
    if not places:
        return PromptError(ErrorCode.EMPTY, "there is nothing to score: the text has no tokens.")
    return [
        _masked(reader, ids, places) if mask_share is None else _masked_at_once(reader, ids, drawn(request.sample_id, places, mask_share))
    ]


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


def _masked_at_once(reader: Reader, ids: list[int], places: list[int]) -> list[_Question]:
    """One row with the mask at all places."""
    masked = set(places)
    row = tuple(reader.tokenizer.mask_token_id if k in masked else token for k, token in enumerate(ids))
    return [_Question(row=row, place=k, token=ids[k]) for k in places]


def drawn(sample_id: str, places: Sequence[int], share: float) -> list[int]:
    """The places that are masked at once, in order: of n places max(1, round(share n)), as BERT's own create_pretraining_data.py counts them.

    Those whose seeds are smallest, so that neither machine, run nor library version decides.
    """
    count = max(1, round(share * len(places)))
    return sorted(sorted(places, key=lambda k: seed_for(0, "", sample_id, k, "mask"))[:count])


def _types(tokenizer: object, row: Sequence[int]) -> list[int] | None:
    names = getattr(tokenizer, "model_input_names", ())
    return [0] * len(row) if "token_type_ids" in names else None
