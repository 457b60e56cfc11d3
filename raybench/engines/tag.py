"""One label a word from a model that labels sub-words: the first sub-word of a word speaks for it (Devlin et al. 2019, section 5.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from raybench.core.errors import CheckpointError
from raybench.core.outputs import Tags
from raybench.core.types import ErrorCode, Prediction, Request
from raybench.engines.fit import PromptError
from raybench.engines.labels import tag_names
from raybench.engines.net import TokenRow
from raybench.engines.predictions import failed, nonfinite, scored
from raybench.engines.reading import Encoder, Reader, surrogate_error, too_long

OUTSIDE = "O"
"""Label of a word that the model does not see: it has no tokens, or was cut away."""

Decode = Callable[[Sequence[TokenRow]], list[list[int]]]
"""Rows to a label number for each token: a model's own way, such as the best path of a CRF."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """A request as tokens."""

    row: TokenRow
    first: list[int | None]
    """Of each word: the place of its first token; None where the model does not see it."""
    num_truncated: int


def tag(encoder: Encoder, requests: Sequence[Request], decode: Decode | None = None) -> list[Prediction]:
    """Answer `tag` requests.

    Args:
        encoder: Its net gives logits [B, L, labels].
        requests: What is asked.
        decode: Instead of the highest logit of each token.

    Raises:
        ConfigError: when a label of the head is none of the task's.
        CheckpointError: when the tokenizer cannot say which word a token belongs to.
    """
    names = {
        labels: tag_names(encoder.labels, labels, encoder.label_map, where=encoder.where)
        for labels in dict.fromkeys(r.labels for r in requests)
    }
    found = _read_all(encoder.reader, requests, [names[r.labels] for r in requests])
    rows = [w.row for w in found if isinstance(w, _Words)]
    numbers = iter(decode(rows) if decode is not None else _best(encoder, rows))
    return [
        failed(r, w) if isinstance(w, PromptError) else _answer(r, w, next(numbers), names[r.labels])
        for r, w in zip(requests, found, strict=True)
    ]


def _best(encoder: Encoder, rows: Sequence[TokenRow]) -> list[list[int]]:
    """The highest logit of each token; -1 where they are not finite."""

    def best(logits_TX: Any) -> list[int]:
        return [n if ok else -1 for n, ok in zip(logits_TX.argmax(-1).tolist(), logits_TX.isfinite().all(-1).tolist(), strict=True)]

    return [best(logits) for logits in encoder.net.per_token(rows)]


def _answer(request: Request, words: _Words, numbers: list[int], names: list[str]) -> Prediction:
    chosen = [None if place is None else numbers[place] for place in words.first]
    if any(n is not None and n < 0 for n in chosen):
        return nonfinite(request)
    labels = tuple(OUTSIDE if n is None else names[n] for n in chosen)
    return scored(request, Tags(labels=labels), num_prompt_tokens=len(words.row.ids), num_truncated=words.num_truncated)


def _read_all(reader: Reader, requests: Sequence[Request], names: Sequence[list[str]]) -> list[_Words | PromptError]:
    """All requests as tokens, the readable ones by one call of the tokenizer."""
    if not reader.tokenizer.is_fast:
        raise CheckpointError(
            f"the tokenizer {type(reader.tokenizer).__name__} cannot say which word a token belongs to. Expected one with a tokenizer.json; "
            "name another with `tokenizer:` on this model."
        )
    found: list[_Words | PromptError | None] = [_broken(r) for r in requests]
    fine = [i for i, error in enumerate(found) if error is None]
    encoded = reader.tokenizer([list(requests[i].words or ()) for i in fine], **_HOW) if fine else None
    for n, i in enumerate(fine):
        assert encoded is not None
        types = encoded.get("token_type_ids")
        row = TokenRow(ids=encoded["input_ids"][n], types=None if types is None else types[n])
        found[i] = _fit(reader, requests[i].words or (), row, encoded.word_ids(n), names[i])
    return [words for words in found if words is not None]


_HOW = {"is_split_into_words": True, "return_attention_mask": False}


def _broken(request: Request) -> PromptError | None:
    if not request.words:
        return PromptError(ErrorCode.EMPTY, "there is nothing to label: the list of words is empty.")
    return surrogate_error(*request.words)


def _fit(reader: Reader, words: Sequence[str], row: TokenRow, word_ids: list[int | None], names: list[str]) -> _Words | PromptError:
    num_truncated = 0
    if len(row.ids) > reader.max_length:
        if reader.overlong not in ("truncate_left", "truncate_right"):
            return too_long(len(row.ids), reader.max_length)
        cut = reader.tokenizer(list(words), truncation=True, max_length=reader.max_length, **_HOW)
        num_truncated = len(row.ids) - len(cut["input_ids"])
        row, word_ids = TokenRow(ids=cut["input_ids"], types=cut.get("token_type_ids")), cut.word_ids()
    first: list[int | None] = [None] * len(words)
    for place, word in reversed(list(enumerate(word_ids))):
        if word is not None:
            first[word] = place
    if None in first and OUTSIDE not in names:
        at = first.index(None)
        return PromptError(ErrorCode.REFUSED, f"word {at}, {words[at][:40]!r}, has no tokens, and there is no label '{OUTSIDE}' for it.")
    return _Words(row=row, first=first, num_truncated=num_truncated)
