"""What is asked, and the rows that come back: the frozen values that pass between the parts of raybench.

None means unknown. Log-probabilities are in nats. Ratios lie between 0 and 1. Intervals are half-open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from raybench.core.outputs import Output
from raybench.core.record import record


class Kind(StrEnum):
    """What an engine is asked for; an engine declares the kinds it serves."""

    GENERATE = "generate"
    """Text after a prompt."""
    LOGLIKELIHOOD = "loglikelihood"
    """The log-probability of each of n continuations of one context."""
    ROLLING = "rolling"
    """The log-probability of a whole text."""
    CLASSIFY = "classify"
    """Label logits of a sentence or a pair."""
    TAG = "tag"
    """One label a word."""
    SPAN = "span"
    """An answer span in a passage."""
    FILL = "fill"
    """Candidates for a masked position."""
    EMBED = "embed"
    """A vector for a text."""


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    """A stop string or the end-of-text token came."""
    LENGTH = "length"
    """The token budget was used up."""
    SCORED = "scored"
    """Nothing was generated: the request was a likelihood."""
    ERROR = "error"
    """There is no answer; the error code says why."""


class ErrorCode(StrEnum):
    """Why a row has no answer: the request's own fault, never the machine's."""

    OVERLONG = "overlong"
    """Prompt and answer do not fit into the model's context."""
    EMPTY = "empty"
    """There is nothing to score: the text or a continuation has no tokens."""
    NONFINITE = "nonfinite"
    """The model answered NaN or infinite logits."""
    TEMPLATE = "template"
    """The chat template refused the messages."""
    REFUSED = "refused"
    """The engine refused the request for another reason, given in the message."""


@record
class Sample:
    """One item of a data set."""

    id: str
    """Stable, and unique in its task."""
    fields: Mapping[str, Any]
    """The row as the data set has it; values are JSON."""
    choices: tuple[str, ...] = ()
    """Answer options, in order."""
    label: int | None = None
    """Index of the right option."""
    targets: tuple[str, ...] = ()
    """Right answers as text, any of them counts; for `tag` the right label of each word."""
    cluster: str | None = None
    """What the sample has in common with others (a passage, a document): the unit of clustered standard errors."""


@record
class Prompt:
    """What a form makes of one sample: the question, and the answer that a few-shot example shows."""

    text: str
    """The question, without examples before it; for `rolling` the text to be scored."""
    answer: str | None = None
    """What stands behind the delimiter when the sample is an example; never sent with a question."""
    continuations: tuple[str, ...] = ()
    """Options of a likelihood request, without the delimiter; for `classify`, second texts that are read one by one, of which one is right."""
    contexts: tuple[str, ...] = ()
    """Where the options differ in the question and not in what follows it (WinoGrande): one question an option in place of `text`, and one continuation.
    For `embed` a text and those that it is compared with, a request each."""
    turns: tuple[str, ...] = ()
    """Further user turns of a generation, each asked after the model's own answer to the one before."""
    prefix: str = ""
    """Beginning of the (first) answer, which the model continues; an example shows it before its answer."""
    pair: str | None = None
    """The second text: of a sentence pair for `classify`, the passage for `span`."""
    words: tuple[str, ...] | None = None
    """The words that `tag` labels."""


OPTION = "option-"
"""Begins the names of the requests of a sample whose options are asked one by one: `option-0`, `option-1`, ... (`Prompt.contexts`, `continuations`)."""

MASK = "[MASK]"
"""Stands in the prompt of `fill` for the place to be filled; engines put their own mask token there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: str
    """system, user or assistant."""
    content: str
    """The text of the turn."""


@record
class Shot:
    """A few-shot example: a question and its answer."""

    question: str
    """The prompt text of the example."""
    answer: str
    """Its answer, without the delimiter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How an answer is drawn. Greedy when the temperature is 0."""

    max_tokens: int = 256
    """Most tokens of an answer."""
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these."""
    temperature: float = 0.0
    """Divides the logits; 0 takes the most probable token."""
    top_p: float = 1.0
    """Smallest set of tokens whose probability reaches this."""
    top_k: int | None = None
    """Only the k most probable tokens."""
    min_p: float = 0.0
    """Only tokens at least this likely, relative to the most likely one."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens seen before (Keskar et al. 2019)."""
    num_beams: int = 1
    """Hypotheses of beam search; 1 is none. The fields below that begin with "Beams" are for more than one."""
    length_penalty: float = 1.0
    """Beams: their summed log-probability is divided by the length to this power; above 0 favours long answers."""
    early_stopping: bool = False
    """Beams: stop when there are as many finished hypotheses as beams, not when no better one can come."""
    num_return_sequences: int = 1
    """Beams: the best n hypotheses are kept; see `Generation.alternatives`."""
    no_repeat_ngram_size: int = 0
    """No n tokens in a row come twice in an answer; 0: they may."""


@record
class Request:
    """One question to an engine. It has no target: an engine never sees the answer."""

    sample_id: str
    kind: Kind
    request: str = ""
    """A short name where a sample has several requests (`uncond`, `option-0`), otherwise empty."""
    repeat: int = 0
    """0 to n-1 where a sample is asked n times."""
    description: str = ""
    """Text before the examples; the system message under a chat template."""
    shots: tuple[Shot, ...] = ()
    """Few-shot examples, in order."""
    prompt: str = ""
    """The question itself; for `rolling` the whole text."""
    messages: tuple[Message, ...] = ()
    """A whole conversation in place of description, examples, prompt and prefix, for the chat template; a last one of the assistant is continued."""
    is_bare: bool = False
    """Whether the prompt goes to the model as it is, without description and chat template."""
    delimiter: str = " "
    """Between a question and its answer; empty under a chat template, where the turn takes its place."""
    separator: str = "\n\n"
    """Between examples."""
    continuations: tuple[str, ...] = ()
    """Options of a likelihood request, without the delimiter."""
    turns: tuple[str, ...] = ()
    """Further user turns, each asked after the model's own answer to the one before; only for `generate`."""
    prefix: str = ""
    """Beginning of the (first) answer, which the model continues; under a chat template the continued last assistant message."""
    pair: str | None = None
    """The second text of `classify`; the passage of `span`."""
    words: tuple[str, ...] | None = None
    """The words of `tag`."""
    labels: tuple[str, ...] = ()
    """The task's label names, in the order of its logits; empty: a regression (`classify`), the checkpoint's own names (`tag`)."""
    sampling: Sampling | None = None
    """Only for `generate`."""
    keep_tokens: bool = False
    """Whether the answer carries the log-probability of every token."""
    seed: int | None = None
    """Of this request alone: hash of run seed, task, sample id and repeat. Only where something is drawn."""

    @property
    def context(self) -> str:
        """The whole prompt of the first turn as plain text, without a chat template."""
        if self.prefix:
            return self._prefixed_context
        shots = "".join(f"{s.question}{self.delimiter}{s.answer}{self.separator}" for s in self.shots)
        return f"{self.description}{shots}{self.prompt}"

    @property
    def _prefixed_context(self) -> str:
        """With a prefix, white space takes the place of the delimiter (lm_eval 0.4.13 api/task.py, build_qa_turn)."""
        shots = "".join(f"{s.question}{self.gap(s.question, s.answer)}{s.answer}{self.separator}" for s in self.shots)
        return f"{self.description}{shots}{self.prompt}{self.gap(self.prompt, self.prefix)}{self.prefix}"

    def gap(self, question: str, answer: str) -> str:
        """What stands between a question and the beginning of an answer: the delimiter, unless there is white space."""
        return "" if not question or question[-1].isspace() or answer[:1].isspace() else self.delimiter

    @property
    def key(self) -> tuple[str, str, int]:
        """Names the row inside its model and task."""
        return self.sample_id, self.request, self.repeat


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What all requests of one (task, form) of a model share."""

    task: str
    kind: Kind
    description: str = ""
    delimiter: str = " "
    separator: str = "\n\n"
    sampling: Sampling | None = None
    labels: tuple[str, ...] = ()
    """Label names of `classify` and `tag`; the checkpoint's are mapped onto them."""
    num_repeats: int = 1
    """Times that every sample is asked."""
    keep_tokens: bool = False
    """Whether answers carry the log-probability of every token."""
    seed: int = 0
    """Of the run; requests derive theirs from it."""


@record
class Prediction:
    """The answer to one request, or the error that stands in its place."""

    sample_id: str
    request: str = ""
    repeat: int = 0
    finish_reason: FinishReason
    num_prompt_tokens: int | None = None
    """Tokens of the prompt, after the chat template and after truncation."""
    num_output_tokens: int | None = None
    """Tokens generated; null for likelihoods."""
    num_truncated_tokens: int = 0
    """Prompt tokens cut away because the context was full."""
    error_code: ErrorCode | None = None
    error_message: str | None = None
    output: Output | None = None
    """None exactly when there is an error code."""

    @classmethod
    def failed(cls, request: Request, code: ErrorCode, message: str) -> Prediction:
        """The row that says why `request` has no answer."""
        return cls(
            sample_id=request.sample_id,
            request=request.request,
            repeat=request.repeat,
            finish_reason=FinishReason.ERROR,
            error_code=code,
            error_message=message,
        )
