"""What heads answer: label logits, tags, spans, vectors. Text and likelihoods are in types.py; `Output` there is any of them."""

from __future__ import annotations

from raybench.core.record import record


@record
class Classification:
    """Answer to `classify`."""

    logits: tuple[float, ...]
    """One a label, in the order of the task's labels; a single value for a regression."""
    label: str | None = None
    """Name of the label with the highest logit, the first of equal ones; None for a regression."""


@record
class Tags:
    """Answer to `tag`."""

    labels: tuple[str, ...]
    """One a word, in the task's names."""


@record
class Spans:
    """Answer to `span`: the n best places in the passage, best first."""

    texts: tuple[str, ...]
    """The passage's own text from start to stop."""
    starts: tuple[int, ...]
    """First character in the passage."""
    stops: tuple[int, ...]
    """Behind the last character."""
    scores: tuple[float, ...]
    """Start logit + end logit."""
    null_score: float
    """The same for no answer (both at the first special token), the smallest over the windows of the passage."""

    @property
    def text(self) -> str:
        """The best place; empty where the passage has none."""
        return self.texts[0] if self.texts else ""


@record
class Embedding:
    """Answer to `embed`."""

    vector: tuple[float, ...]
    """float32 values."""
