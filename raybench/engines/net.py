"""A model that reads whole token rows at once: batches by length under the token budget, padded, run, and taken apart again.

Shapes: B rows of a batch, L padded length, X whatever a head gives at a place, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MAX_LOGITS = 2**27
"""Most values of one forward pass's output (512 MiB in float32)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """What a model reads."""

    ids: list[int]
    types: list[int] | None = None
    """Segment of each token, for models that tell sentence from pair."""


Reduce = Callable[[Any, Any], Any]
"""(output [B, L, X], mask [B, L]) -> [B, ...]."""


class Net:
    """Forward passes over token rows. Depends on the rows alone: batches are formed inside one call."""

    def __init__(
        self,
        forward: Callable[[dict[str, Any]], Any],
        *,
        device: Any,
        batch_tokens: int,
        pad_id: int,
        pad_type: int = 0,
        pads_left: bool = False,
        head: Any = None,
    ) -> None:
        """Take a model.

        Args:
            forward: Padded inputs (input_ids, attention_mask and, where rows have them, token_type_ids, each [B, L]) to an output tensor.
            device: Where it runs.
            batch_tokens: Most padded tokens of a batch.
            pad_id: Token that fills rows up.
            pad_type: Segment of padding.
            pads_left: Padding stands in front: for models whose head reads the last position (XLNet).
            head: The output layer over the vocabulary, where there is one: it is then run only at positions that are wanted.
        """
        self._forward = forward
        self._device = device
        self._batch_tokens = batch_tokens
        self._pad_id = pad_id
        self._pad_type = pad_type
        self._pads_left = pads_left
        self._head = head

    def per_row(self, rows: Sequence[TokenRow], reduce: Reduce | None = None) -> list[Any]:
        """[...] float32 on the CPU for each row: what the model gives a row, or what `reduce` makes of what it gives its tokens."""
        import torch

        found: list[Any] = [None] * len(rows)
        with torch.inference_mode():
            for members, inputs in self._batches(rows):
                output = self._forward(inputs)
                if reduce is not None:
                    output = reduce(output, inputs["attention_mask"])
                for i, row in zip(members, output.float().cpu(), strict=True):
                    found[i] = row
        return found

    def per_token(self, rows: Sequence[TokenRow]) -> list[Any]:
        """[tokens, X] float32 on the CPU for each row, padding taken off."""
        import torch

        found: list[Any] = [None] * len(rows)
        with torch.inference_mode():
            for members, inputs in self._batches(rows):
                output = self._forward(inputs).float().cpu()
                for i, row in zip(members, output, strict=True):
                    start = self._start(rows[i], output.shape[1])
                    found[i] = row[start : start + len(rows[i].ids)]
        return found

    def each(self, rows: Sequence[TokenRow], function: Callable[[dict[str, Any]], Sequence[Any]]) -> list[Any]:
        """What `function` of the padded inputs gives for each row."""
        import torch

        found: list[Any] = [None] * len(rows)
        with torch.inference_mode():
            for members, inputs in self._batches(rows):
                for i, value in zip(members, function(inputs), strict=True):
                    found[i] = value
        return found

    def at(self, rows: Sequence[TokenRow], places: Sequence[Sequence[int]], vocabulary: int) -> Iterator[tuple[list[tuple[int, int]], Any]]:
        """Logits [N, V] float32 at some places, batch by batch with (number of the row, place) of each; the output layer runs only there.

        Args:
            rows: Token rows.
            places: Positions in each row.
            vocabulary: Logits at a place, which bounds the size of a batch.
        """
        import torch

        most = max(1, MAX_LOGITS // vocabulary)
        most_rows = max(1, most // max(map(len, places), default=1))
        with torch.inference_mode():
            for members, inputs in self._batches(rows, most_tokens=None if self._head is not None else most, most_rows=most_rows):
                width = inputs["input_ids"].shape[1]
                where = [(b, i, place) for b, i in enumerate(members) for place in places[i]]
                keep = torch.tensor([b * width + self._start(rows[i], width) + place for b, i, place in where], device=self._device)
                yield [(i, place) for _, i, place in where], self._at(inputs, keep).float()

    def _at(self, inputs: dict[str, Any], keep: Any) -> Any:
        if self._head is None:
            return self._forward(inputs).flatten(0, 1)[keep]

        def select(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
            return args[0].flatten(0, 1)[keep][None], *args[1:]

        hook = self._head.register_forward_pre_hook(select)
        try:
            return self._forward(inputs)[0]
        finally:
            hook.remove()

    def _start(self, row: TokenRow, width: int) -> int:
        return width - len(row.ids) if self._pads_left else 0

    def _batches(
        self, rows: Sequence[TokenRow], *, most_tokens: int | None = None, most_rows: int | None = None
    ) -> Iterator[tuple[list[int], dict[str, Any]]]:
        budget = self._batch_tokens if most_tokens is None else min(self._batch_tokens, most_tokens)
        for members in batches([len(r.ids) for r in rows], budget=budget, most_rows=most_rows):
            yield members, self._padded([rows[i] for i in members])

    def _padded(self, rows: Sequence[TokenRow]) -> dict[str, Any]:
        import torch

        width = max(len(r.ids) for r in rows)
        # a row without any token still needs one position to run; its mask is all padding
        width = max(width, 1)

        def filled(values: list[int], pad: int) -> list[int]:
            rest = [pad] * (width - len(values))
            return rest + values if self._pads_left else values + rest

        inputs = {
            "input_ids": torch.tensor([filled(r.ids, self._pad_id) for r in rows], device=self._device),
            "attention_mask": torch.tensor([filled([1] * len(r.ids), 0) for r in rows], device=self._device),
        }
        if rows[0].types is not None:
            inputs["token_type_ids"] = torch.tensor([filled(r.types or [], self._pad_type) for r in rows], device=self._device)
        return inputs


def batches(lengths: Sequence[int], *, budget: int, most_rows: int | None = None) -> Iterator[list[int]]:
    """Row numbers batch by batch: the longest first, at most `budget` padded tokens and a quarter of padding; a longer row runs alone."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    start = 0
    while start < len(order):
        longest = max(1, lengths[order[start]])
        most = max(1, budget // longest) if most_rows is None else max(1, min(budget // longest, most_rows))
        stop = start + 1
        while stop < min(len(order), start + most) and lengths[order[stop]] * 4 >= longest * 3:
            stop += 1
        yield order[start:stop]
        start = stop
