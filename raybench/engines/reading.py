"""From requests to the token rows that an encoder reads: text or pair with special tokens, and what happens to one that does not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from raybench.core.types import ErrorCode, Prediction, Request
from raybench.engines.fit import Overlong, PromptError
from raybench.engines.net import Net, Reduce, TokenRow
from raybench.engines.predictions import failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A request as tokens."""

    row: TokenRow
    num_truncated: int = 0
    """Tokens cut away."""


class Reader:
    """Encodes requests for one tokenizer."""

    def __init__(self, tokenizer: Any, *, max_length: int, overlong: Overlong, pads_left: bool = False) -> None:
        """Take a tokenizer.

        Args:
            tokenizer: Of transformers.
            max_length: Most tokens of a row, special ones included.
            overlong: error; truncate_left, truncate_right: tokens are cut from the longer text of a pair first, special ones never.
            pads_left: Of the model's batches; a passage then stands before its question.
        """
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.overlong = overlong
        self.pads_left = pads_left
        if overlong in ("truncate_left", "truncate_right"):
            tokenizer.truncation_side = overlong.removeprefix("truncate_")

    def read(self, requests: Sequence[Request]) -> list[Read | PromptError]:
        """Rows of whole texts, or pairs of texts; an error in the place of a request that cannot be read."""
        found: list[Read | PromptError] = [PromptError(ErrorCode.REFUSED, "")] * len(requests)
        for is_pair in (False, True):
            members = [i for i, r in enumerate(requests) if (r.pair is not None) is is_pair]
            fine = []
            for i in members:
                broken = surrogate_error(requests[i].context, requests[i].pair or "")
                if broken is None:
                    fine.append(i)
                else:
                    found[i] = broken
            if not fine:
                continue
            texts = [requests[i].context for i in fine]
            pairs = [requests[i].pair for i in fine] if is_pair else None
            encoded = self.tokenizer(texts, pairs, return_attention_mask=False)
            types = encoded.get("token_type_ids")
            for n, i in enumerate(fine):
                row = TokenRow(ids=encoded["input_ids"][n], types=None if types is None else types[n])
                found[i] = self._fit(row, texts[n], None if pairs is None else pairs[n])
        return found

    def _fit(self, row: TokenRow, text: str, pair: str | None) -> Read | PromptError:
        if not row.ids:
            return PromptError(ErrorCode.EMPTY, "there is nothing to read: the text has no tokens.")
        if len(row.ids) <= self.max_length:
            return Read(row=row)
        if self.overlong not in ("truncate_left", "truncate_right"):
            return too_long(len(row.ids), self.max_length)
        cut = self.tokenizer(text, pair, truncation="longest_first", max_length=self.max_length, return_attention_mask=False)
        short = TokenRow(ids=cut["input_ids"], types=cut.get("token_type_ids"))
        return Read(row=short, num_truncated=len(row.ids) - len(short.ids))


class RowNet(Protocol):
    """A model that gives each row something; `Net` is one, and can do more."""

    def per_row(self, rows: Sequence[TokenRow], reduce: Reduce | None = None) -> list[Any]:
        """[...] float32 for each row; see `Net.per_row`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What whole rows are answered with."""

    reader: Reader
    net: RowNet
    labels: tuple[str, ...]
    """Names of the head's logits, in order; empty for a head without names."""
    label_map: Mapping[str, str]
    where: str
    """The checkpoint, for messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder(Head):
    """What the answers of all encoder kinds are made with, those to single tokens included."""

    net: Net


def too_long(num_tokens: int, max_length: int) -> PromptError:
    """The error of a text that does not fit."""
    return PromptError(
        ErrorCode.OVERLONG,
        f"a text of {num_tokens} tokens is {num_tokens - max_length} too long. Raise engine.max_length if the model allows it, or set "
        "engine.overlong to truncate_right or truncate_left.",
    )


def surrogate_error(*texts: str) -> PromptError | None:
    """Why one of the texts is no Unicode text; None where all are."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return PromptError(ErrorCode.REFUSED, f"the text has a lone surrogate at character {error.start} and is no Unicode text.")
    return None


def answer_readable(
    requests: Sequence[Request],
    found: Sequence[Read | PromptError],
    answer: Callable[[list[Request], list[Read]], list[Prediction]],
) -> list[Prediction]:
    """Answers to the requests that could be read, error rows for the others, in order."""
    fine = [i for i, read in enumerate(found) if isinstance(read, Read)]
    answers = iter(answer([requests[i] for i in fine], [read for read in found if isinstance(read, Read)]))
    return [
        failed(request, read) if isinstance(read, PromptError) else next(answers) for request, read in zip(requests, found, strict=True)
    ]
