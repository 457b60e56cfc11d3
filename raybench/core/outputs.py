"""What engines answer: text, likelihoods, label logits, tags, spans, vectors; `Output` is any of them.

None means unknown. Log-probabilities are in nats.
"""

from __future__ import annotations

from raybench.core.record import record


@record
class Generation:
    """Answer to `generate`."""

    text: str
    """The new text, cut before the first stop string, without special tokens, prefix and reasoning; with further turns the last answer."""
    reasoning: str | None = None
    """The trace before the answer (of the last turn), where the checkpoint's `think_end` came; otherwise None."""
    turns: tuple[str, ...] = ()
    """Where there were further turns: the answers to all turns, in order."""
    alternatives: tuple[str, ...] = ()
    """The further hypotheses of a beam search with `num_return_sequences`, best first; `text` is the first."""
    token_logprobs: tuple[float, ...] | None = None
    """Of every generated token (of all turns, in order), end token, reasoning and cut text included; under the model, before the sampling changed it."""


@record
class Likelihoods:
    """Answer to `loglikelihood`: one entry a continuation, in order."""

    logprobs: tuple[float, ...]
    """Sum over the continuation's tokens."""
    is_greedy: tuple[bool, ...]
    """Whether every token was the most probable one."""
    num_tokens: tuple[int, ...]
    """Tokens of the continuation."""
    token_logprobs: tuple[tuple[float, ...], ...] | None = None
    """Of each token of each continuation, where they are kept."""


@record
class TextLikelihood:
    """Answer to `rolling`."""

    logprob: float
    """Sum over all tokens of the text."""
    num_tokens: int
    """Tokens that were scored."""
    token_logprobs: tuple[float, ...] | None = None
    """Of each token of the text, in order, where they are kept."""


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


Output = Generation | Likelihoods | TextLikelihood | Classification | Tags | Spans | Embedding
"""`fill` is answered by Likelihoods: one entry a candidate, or one for the whole text (its pseudo-log-likelihood)."""
