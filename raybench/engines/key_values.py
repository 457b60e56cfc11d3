"""Keys and values of a shard while it generates: runs of tokens that prompts share, kept once, and each row's own in a table.

Shapes: B rows of the table, K key heads, D head size, T columns, n tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raybench.engines.prefix_tree import Node
from raybench.engines.shared_attention import Segment, States

_COLUMNS = 64  # the table grows by so many at a time


class Shelf:
    """What was computed for the nodes of a prefix tree, for as long as a row needs it."""

    def __init__(self) -> None:
        """Begin empty."""
        self._states: dict[Node, States] = {}
        self._num_read: dict[Node, int] = {}
        self._num_users: dict[Node, int] = {}

    def segment(self, node: Node, num_tokens: int) -> Segment:
        """The next tokens of a node, to be computed; its parents have been."""
        start = self._num_read.get(node, 0)
        states = self._states.setdefault(node, {})
        parents = [self._states[p] for p in node.path[:-1]]

        def keep(layer: int, keys: Any, values: Any) -> None:
            states[layer] = _behind(states.get(layer), keys, values)

        def prior(layer: int) -> Sequence[tuple[Any, Any]]:
            # asked after the new tokens have been kept: what the node had before is cut out of them
            own = [] if not start else [(states[layer][0][:, :start], states[layer][1][:, :start])]
            return [*(p[layer] for p in parents), *own]

        self._num_read[node] = start + num_tokens
        return Segment(tokens=node.tokens[start : start + num_tokens], start=node.start + start, prior=prior, keep=keep)

    def num_missing(self, node: Node) -> int:
        """Tokens of a node that have not been computed yet."""
        return len(node.tokens) - self._num_read.get(node, 0)

    def states(self, node: Node) -> States:
        """Keys and values of a node."""
        return self._states[node]

    def release(self, node: Node) -> None:
        """One of the prompts below a node does not need it any more; after the last one its memory is free."""
        self._num_users[node] = self._num_users.get(node, node.num_prompts) - 1
        if self._num_users[node] == 0:
            self._states.pop(node, None)


def _behind(before: tuple[Any, Any] | None, keys: Any, values: Any) -> tuple[Any, Any]:
    import torch

    if before is None:
        return keys, values
    return torch.cat([before[0], keys], dim=1), torch.cat([before[1], values], dim=1)


class Table:
    """Own keys and values of the rows that run together: layer to two tensors [B, K, T, D]."""

    def __init__(self) -> None:
        """Begin without rows."""
        self.states: States = {}
        self.num_rows = 0
        self._num_columns = 0

    def arrange(self, kept: Sequence[int], added: Sequence[Sequence[States]], *, like: States) -> None:
        """Keep the rows `kept`, in this order, and put new ones behind them.

        Args:
            kept: Indices of rows.
            added: For each new row, what it begins with: runs of tokens [K, n, D] by layer, in order.
            like: Layers, shapes and number format; looked at while there are no rows.
        """
        import torch

        width = max([self._num_columns, *(_width(parts) + _COLUMNS for parts in added)])
        for layer, sides in (dict(self.states) or like).items():
            fresh = []
            for side, example in enumerate(sides):
                # zeros: what is masked out is multiplied by 0, and must not be NaN
                table = example.new_zeros(len(kept) + len(added), example.shape[-3], width, example.shape[-1])
                if kept:
                    table[: len(kept), :, : self._num_columns] = example[torch.tensor(kept, device=example.device)]
                for row, parts in enumerate(added, start=len(kept)):
                    column = 0
                    for part in parts:
                        run = part[layer][side]
                        table[row, :, column : column + run.shape[1]] = run
                        column += run.shape[1]
                fresh.append(table)
            self.states[layer] = fresh[0], fresh[1]
        self.num_rows, self._num_columns = len(kept) + len(added), width

    def widen(self, num_columns: int) -> None:
        """Make room for so many tokens in every row."""
        import torch

        if num_columns <= self._num_columns:
            return
        more = -(-num_columns // _COLUMNS) * _COLUMNS - self._num_columns
        for layer, sides in self.states.items():
            keys, values = (torch.nn.functional.pad(s, (0, 0, 0, more)) for s in sides)
            self.states[layer] = keys, values
        self._num_columns += more

    def segment(self, row: int, tokens: Sequence[int], start: int, before: Sequence[States], num_own: int) -> Segment:
        """Further tokens of a row, to be computed behind its `num_own` own ones; `before` is what it shares."""

        def keep(layer: int, keys: Any, values: Any) -> None:
            for table, new in zip(self.states[layer], (keys, values), strict=True):
                table[row, :, num_own : num_own + new.shape[1]] = new

        def prior(layer: int) -> Sequence[tuple[Any, Any]]:
            keys, values = self.states[layer]
            return [*(s[layer] for s in before), *([(keys[row, :, :num_own], values[row, :, :num_own])] if num_own else [])]

        return Segment(tokens=tokens, start=start, prior=prior, keep=keep)


def _width(parts: Sequence[States]) -> int:
    return sum(int(next(iter(part.values()))[0].shape[1]) for part in parts)
