"""The plugs: Engine, Metric (or TableMetric), and the small values that pass through them; where engines live is in pool.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from raybench.core.checkpoint import Checkpoint
from raybench.core.record import record
from raybench.core.types import Kind, Prediction, Request, Sample


@runtime_checkable
class Engine(Protocol):
    """Answers requests. Made by a factory `(EngineSpec) -> Engine`; blocking; thread-safe where concurrency > 1.

    Raises:
        EngineDead: when it can answer nothing more; the driver replaces it.
        EngineError: when this shard cannot be answered here; the driver tries again elsewhere.
    """

    kinds: frozenset[Kind]
    """The request kinds it serves with the checkpoint it holds."""
    concurrency: int
    """Shards it can usefully work on at once: 1 for PyTorch, 2 for continuous batching. One that has an attribute `slots`, the requests that
    it works on at once, gets more of them where they are small, and there are enough for all engines."""
    reproducible: Literal["exact", "measured"]
    """`exact`: a shard's rows are a pure function of model and shard; `measured`: only within a noise floor."""

    def run(self, requests: Sequence[Request]) -> list[Prediction]:
        """Answer the requests of one shard, 1:1 and in order. A request at fault gets an error row, it does not raise.

        Where something about the shard should be on record, the list is `Answers`.
        """

    def load(self, checkpoint: Checkpoint) -> bool:
        """Swap the weights of another checkpoint of the same architecture in; False where it cannot (a new engine is made)."""

    def progress(self) -> int:
        """A count that rises with every step of work: a long shard is told from one that hangs. Called from another thread."""

    def close(self) -> None:
        """Free memory and processes. Called once."""


class Answers(list[Prediction]):
    """The predictions of a shard, with what should be on record about how they came about."""

    def __init__(
        self,
        predictions: Iterable[Prediction],
        *,
        batch_tokens: int | None = None,
        is_budget_halved: bool = False,
        notices: Sequence[str] = (),
        numerics: Mapping[str, str] | None = None,
    ) -> None:
        """Take the predictions.

        Args:
            predictions: Of the shard, in order.
            batch_tokens: Token budget of a forward pass that they were computed with; None where the engine has none.
            is_budget_halved: Whether memory ran out, and the shard was computed with a smaller budget than the configured one.
            notices: What the user should hear about once, a sentence each.
            numerics: What decides the last digits, as parts of a signature: `attn`, `dtype`, `invariant`. What the engine really runs with, where a
                configuration leaves it open.
        """
        super().__init__(predictions)
        self.batch_tokens = batch_tokens
        self.is_budget_halved = is_budget_halved
        self.notices = tuple(notices)
        self.numerics = dict(numerics or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """Everything an engine is made from; plain data, so that it travels to an actor."""

    kind: str
    """Name in the engine table, or `package.module:Class`."""
    checkpoint: Checkpoint
    options: Mapping[str, Any]
    """The resolved engine block of the configuration, without `kind`."""


@record
class Scored:
    """What a metric sees of one sample: its rows in (request, repeat) order, with the answer each filter extracted."""

    sample: Sample
    predictions: Sequence[Prediction]
    """All rows of the sample, none of them an error."""
    extracted: Sequence[str | None]
    """One a prediction: the answer found in a generation, or the best span; None where there was none or the kind has no text."""


Wrong = tuple[float, ...] | Callable[[Sample], tuple[float, ...] | None] | None
"""The statistics of a wrong answer: the same for all samples, or a function of the sample; None where an error has no such reading (perplexity)."""


@runtime_checkable
class Metric(Protocol):
    """A number as mergeable per-sample statistics: score a sample, sum, and make a value of the sums.

    Sums may be formed in any order and over any partition; the same statistics serve the value, its standard error and the bootstrap.
    """

    name: str
    stats: tuple[str, ...]
    """Names of the numbers that are summed."""
    is_mean: bool
    """Whether the value is the mean of the first statistic over samples: then its standard error is analytic."""
    higher_is_better: bool
    signature: str
    """What distinguishes it from others of the same name, in `key:value` pairs joined by `|`; empty if nothing does."""
    wrong: Wrong
    """What an error counts where errors count as wrong answers; more errors then never raise the value."""

    def score(self, scored: Scored) -> tuple[float, ...]:
        """The statistics of one sample."""

    def value(self, sums: Any, n: Any) -> Any:
        """The value of summed statistics.

        Args:
            sums: Array [..., stats] of sums.
            n: Number of samples (or of drawn samples), broadcastable to [...].

        Returns:
            Array [...] of values; NaN where undefined.
        """


@runtime_checkable
class TableMetric(Protocol):
    """A number that sums cannot give: of classes whose number nobody says in advance, or of ranks among all samples.

    It sees the distinct rows of all samples and how often each counts; the bootstrap draws the counts again.
    """

    name: str
    stats: tuple[str, ...]
    """Names of the numbers of a row; `...` at the end: as many more as there are classes, the same number for all samples."""
    is_mean: bool
    """False."""
    higher_is_better: bool
    signature: str
    """As for Metric."""
    wrong: Wrong
    """As for Metric."""

    def score(self, scored: Scored) -> tuple[float, ...]:
        """The row of one sample."""

    def over(self, rows: Any) -> Callable[[Any], Any]:
        """The metric as a function of how often each row counts.

        Args:
            rows: Array [D, stats].

        Returns:
            Weights [..., D], whole numbers from 0, to values [...]; NaN where undefined.
        """

    def slopes(self, rows: Any, weights: Any) -> Any:
        """Derivative of the value by the weight of each row, for the standard error of many samples (the infinitesimal jackknife).

        Args:
            rows: Array [D, stats].
            weights: Array [D]; the value is defined for it.

        Returns:
            Array [D]. Since only the proportions of the weights count, the sum of weights * slopes is 0.
        """


AnyMetric = Metric | TableMetric
