"""What a second look at a run found: some of its samples answered again in float32, and how far the first answers were off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from raybench.core.errors import RunError

FORMAT = 1
"""Version of the JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecheckedSample:
    """One sample, answered twice."""

    id: str
    drift: float | None
    """Largest difference of its numbers, see `Recheck.drift_max`; None where the kind has none."""
    is_flipped: bool | None
    """Whether the decision is another one; None where the kind makes none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recheck:
    """The noise floor of one (model, task): differences below it are no differences between models."""

    model: str
    task: str
    form: str
    reference: str
    """What answered again: `pytorch float32 torch-2.13.0 transformers-5.19.0`."""
    seed: int
    """Of the draw of samples."""
    samples: tuple[RecheckedSample, ...]
    drift_median: float | None
    """Of all numbers compared: |log-probability of an option - its log-probability again| in nats; of a text, a token's mean; of a generation, each
    token's where the texts are equal and tokens are kept; of a head, logits; of a vector, the Euclidean distance."""
    drift_max: float | None
    metrics: Mapping[str, tuple[float | None, float | None]]
    """Metric to its value over these samples as stored, and again."""

    @property
    def num_decisions(self) -> int:
        """Samples with a decision."""
        return sum(s.is_flipped is not None for s in self.samples)

    @property
    def num_flipped(self) -> int:
        """Samples whose decision is another one."""
        return sum(bool(s.is_flipped) for s in self.samples)

    @property
    def key(self) -> tuple[str, str, str]:
        """Names it inside a run."""
        return self.model, self.task, self.form


def rechecks_to_json(rechecks: Sequence[Recheck]) -> dict[str, Any]:
    """The JSON value of all rechecks of a run."""
    return {"format": FORMAT, "rechecks": [asdict(r) for r in rechecks]}


def rechecks_from_json(value: Mapping[str, Any]) -> tuple[Recheck, ...]:
    """Inverse of `rechecks_to_json`.

    Raises:
        RunError: for another format.
    """
    if value.get("format") != FORMAT:
        raise RunError(f"recheck.json: format {value.get('format')!r} found, {FORMAT} expected. Delete it and run raybench recheck again.")
    try:
        return tuple(
            Recheck(
                **{
                    **one,
                    "samples": tuple(RecheckedSample(**s) for s in one["samples"]),
                    "metrics": {name: (before, again) for name, (before, again) in one["metrics"].items()},
                }
            )
            for one in value["rechecks"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"recheck.json: damaged ({error}). Delete it and run raybench recheck again.") from error
