"""Generation with everything shared that prompts have in common: the fast way, for decoders whose attention can be taken over.

Prompts are read as a radix tree, each node once and without padding; rows then run together, one token a step. A row that has ended makes room
for a waiting one, or goes on with its next turn on the keys and values that it has. What happens when depends on the rows alone.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raybench.engines.key_values import Shelf, Table
from raybench.engines.prefix_tree import Node, grow
from raybench.engines.rows import Row, Stepper
from raybench.engines.shared_attention import Reading, Segment, SharedRun, States, Writing, attending
from raybench.engines.token_tree import common_length

_KEEP_SHARED = 1024
"""A run stays shared while rows are written where sharing saves each step so many keys; a shorter one is copied to its rows."""
_KV_PER_BATCH_TOKEN = 4
"""Keys and values are kept for so many tokens for each token of the budget of a forward pass."""


@dataclass(slots=True, kw_only=True)
class _Place:
    """A row of the table."""

    row: Row
    shared: tuple[Node, ...]
    """Runs that it begins with and does not have itself; empty: none."""
    own_start: int
    """Position of its first own token."""
    num_own: int
    """Own tokens whose keys are kept."""


class SharedGenerator:
    """Completes rows with a model whose attention goes through transformers' attention interface."""

    def __init__(self, model: Any) -> None:
        """Take a model on its device, in evaluation mode.

        Args:
            model: The decoder; `shared_probe.obstacle` says whether it can be run here.
        """
        self._model = model
        self._takes_keep = "logits_to_keep" in inspect.signature(model.forward).parameters
        # a CPU is busy with few tokens, and its caches with more are too small; a GPU needs many
        self._most_read = 512 if model.device.type == "cpu" else 4096

    def run(self, rows: Sequence[Row], stepper: Stepper, *, batch_tokens: int) -> None:
        """Complete the rows.

        Args:
            rows: Of one shard.
            stepper: Gives the next tokens.
            batch_tokens: Most tokens of a forward pass.
        """
        import torch

        with torch.inference_mode(), attending(self._model):
            _Run(self, rows, stepper, num_read=min(self._most_read, batch_tokens), num_kept=_KV_PER_BATCH_TOKEN * batch_tokens).go()

    def read(self, segments: Sequence[Segment]) -> tuple[Any, Reading]:
        """Logits [S, V] behind each segment."""
        import torch

        device = self._model.device
        ids = torch.tensor([[t for s in segments for t in s.tokens]], device=device)
        positions = torch.tensor([[p for s in segments for p in range(s.start, s.start + len(s.tokens))]], device=device)
        last = torch.tensor([len(s.tokens) for s in segments]).cumsum(0) - 1  # not on a device: the last layer may lie on another
        state = Reading(segments=segments)
        extra = {"logits_to_keep": last} if self._takes_keep else {}
        logits = self._model(input_ids=ids, position_ids=positions, use_cache=False, shared_pass=state, **extra).logits[0]
        return (logits if self._takes_keep else logits[last]).float(), state

    def write(self, tokens: Sequence[int], state: Writing) -> Any:
        """Logits [B, V] behind one more token of every row."""
        import torch

        ids = torch.tensor(tokens, device=self._model.device)[:, None]
        positions = (state.own_start + state.at)[:, None]
        logits = self._model(input_ids=ids, position_ids=positions, use_cache=False, shared_pass=state).logits
        return logits[:, -1].float()


class _Run:
    """One shard on its way."""

    def __init__(self, generator: SharedGenerator, rows: Sequence[Row], stepper: Stepper, *, num_read: int, num_kept: int) -> None:
        self._generator = generator
        self._device = generator._model.device
        self._stepper = stepper
        self._num_read = num_read
        self._num_kept = num_kept
        self._leaves, order = grow([row.prompt for row in rows])
        self._rows = rows
        self._waiting = deque(order)
        self._shelf = Shelf()
        self._behind: dict[Node, Any] = {}  # logits [V] behind a prompt, until all its repeats have begun
        self._num_begun: dict[Node, int] = {}
        self._table = Table()
        self._places: list[_Place] = []

    def go(self) -> None:
        while self._waiting or self._places:
            self._refill()
            if any(place.row.finish is None for place in self._places):
                self._step()
                self._continue_turns()

    def _refill(self) -> None:
        """Rows that have ended leave, and waiting ones take their places, when an eighth of the rows has ended."""
        live = [i for i, place in enumerate(self._places) if place.row.finish is None]
        num_ended = len(self._places) - len(live)
        if not self._waiting:
            if num_ended and len(live) <= len(self._places) * 3 // 4:
                self._arrange(live, [])
            return
        if self._places and num_ended * 8 < len(self._places):
            return
        chosen = self._choose(live)
        if chosen or num_ended:
            self._arrange(live, self._open(chosen))

    def _choose(self, live: Sequence[int]) -> list[int]:
        """As many waiting rows as fit: the table has as many columns as its longest row may come to need."""
        width = max((p.num_own + p.row.sampling.max_tokens - p.row.num_turn for p in map(self._places.__getitem__, live)), default=0)
        nodes = {node for i in live for node in self._places[i].shared}
        chosen: list[int] = []
        while self._waiting:
            i = self._waiting[0]
            shared = _kept_shared(self._leaves[i])
            own = len(self._rows[i].prompt) - (shared[-1].stop if shared else 0) + self._rows[i].sampling.max_tokens
            width, nodes = max(width, own), nodes | set(shared)
            needed = (len(live) + len(chosen) + 1) * width + sum(len(n.tokens) for n in nodes)
            if needed > self._num_kept and (live or chosen):
                break
            chosen.append(self._waiting.popleft())
        return chosen

    def _open(self, chosen: Sequence[int]) -> list[tuple[_Place, list[Node]]]:
        """Read the prompts of waiting rows and give each its first token; those that go on, with the runs that they take along."""
        leaves = [self._leaves[i] for i in chosen]
        self._read_nodes(leaves)
        rows = [self._rows[i] for i in chosen]
        if rows:
            import torch

            self._stepper.advance(rows, torch.stack([self._logits(leaf) for leaf in leaves]))
        found = []
        for row, leaf in zip(rows, leaves, strict=True):
            shared = _kept_shared(leaf)
            start = shared[-1].stop if shared else 0
            found.append((_Place(row=row, shared=shared, own_start=start, num_own=leaf.stop - start), leaf.path[len(shared) :]))
        return found

    def _logits(self, leaf: Node) -> Any:
        self._num_begun[leaf] = self._num_begun.get(leaf, 0) + 1
        return self._behind[leaf] if self._num_begun[leaf] < leaf.num_prompts else self._behind.pop(leaf)

    def _read_nodes(self, leaves: Sequence[Node]) -> None:
        """Compute what is missing on the paths to `leaves`."""
        pending = [n for n in dict.fromkeys(n for leaf in leaves for n in leaf.path) if self._shelf.num_missing(n)]
        ends = set(leaves)
        while pending:
            nodes: list[Node] = []
            segments: list[Segment] = []
            room = self._num_read
            missing = set(pending)
            for node in pending:
                num = self._shelf.num_missing(node)
                if node.parent in missing or (num > room and segments):
                    continue
                nodes.append(node)
                segments.append(self._shelf.segment(node, min(num, room)))
                room -= len(segments[-1].tokens)
                if room <= 0:
                    break
            found, _ = self._generator.read(segments)
            self._behind.update((node, logits) for node, logits in zip(nodes, found, strict=True) if node in ends)
            pending = [n for n in pending if self._shelf.num_missing(n)]

    def _arrange(self, live: Sequence[int], added: Sequence[tuple[_Place, list[Node]]]) -> None:
        for i, place in enumerate(self._places):
            if i not in set(live):
                self._leave(place)
        like = self._shelf.states(added[0][1][-1] if added[0][1] else added[0][0].shared[-1]) if added else {}
        self._table.arrange(live, [[self._shelf.states(n) for n in path] for _, path in added], like=like)
        self._places = [*(self._places[i] for i in live), *(place for place, _ in added)]
        for _, path in added:
            for node in path:
                self._shelf.release(node)
        self._continue_turns()

    def _leave(self, place: _Place) -> None:
        for node in place.shared:
            self._shelf.release(node)
        place.shared = ()

    def _step(self) -> None:
        """One token for every row that has not ended; the others stand still."""
        import torch

        places = self._places
        width = max(p.num_own for p in places) + 1
        self._table.widen(width)
        state = Writing(
            shared=self._shared_runs(),
            own=self._table.states,
            own_start=torch.tensor([p.own_start for p in places], device=self._device),
            at=torch.tensor([p.num_own for p in places], device=self._device),
            width=width,
        )
        logits = self._generator.write([p.row.new[-1] if p.row.finish is None else 0 for p in places], state)
        for place in places:
            if place.row.finish is None:
                place.num_own += 1
        self._stepper.advance([p.row for p in places], logits)

    def _shared_runs(self) -> list[SharedRun]:
        users: dict[Node, list[int]] = {}
        for i, place in enumerate(self._places):
            for node in place.shared:
                users.setdefault(node, []).append(i)
        return [
            SharedRun(
                start=node.start,
                stop=node.stop,
                states=self._shelf.states(node),
                rows=None if len(rows) == len(self._places) else rows,
            )
            for node, rows in users.items()
        ]

    def _continue_turns(self) -> None:
        """Rows with a further turn read its prompt behind what they already have of it, and get its first token."""
        for i, place in enumerate(self._places):
            while place.row.finish is not None:
                row = place.row
                known = [*row.prompt, *row.new][: place.own_start + place.num_own]
                if not row.turn():
                    break
                kept = min(common_length(known, row.prompt), len(row.prompt) - 1)
                if kept < place.own_start:
                    self._leave(place)
                    kept = place.own_start = 0
                place.num_own = kept - place.own_start
                self._table.widen(len(row.prompt) - place.own_start + 1)
                logits: Any = None
                for start in range(kept, len(row.prompt), self._num_read):
                    tokens = row.prompt[start : start + self._num_read]
                    before: list[States] = [self._shelf.states(n) for n in place.shared]
                    segment = self._table.segment(i, tokens, start, before, place.num_own)
                    logits, _ = self._generator.read([segment])
                    place.num_own += len(tokens)
                self._stepper.advance([row], logits)


def _kept_shared(leaf: Node) -> tuple[Node, ...]:
    """The runs at the beginning of a prompt that its rows read together."""
    found = []
    for node in leaf.path:
        if (node.num_prompts - 1) * len(node.tokens) < _KEEP_SHARED:
            break
        found.append(node)
    return tuple(found)
