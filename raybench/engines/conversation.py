"""Generation requests as rows and back: prompts made to fit, turns asked one after the other, answers read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from raybench.core.errors import InternalError
from raybench.core.outputs import Generation
from raybench.core.types import ErrorCode, FinishReason, Prediction, Request, Sampling
from raybench.engines.answer import AnswerReader
from raybench.engines.fit import Overlong, PromptError, fit_prompt
from raybench.engines.predictions import failed, nonfinite
from raybench.engines.prompting import Prompter
from raybench.engines.rows import Row
from raybench.engines.sampling import seed_of


@dataclass(slots=True, kw_only=True)
class _Conversation:
    """A request, and what has become of it."""

    request: Request
    answers: list[str] = field(default_factory=list)
    """Of the turns that have ended and are followed by another."""
    num_truncated: int = 0
    refusal: PromptError | None = None
    """Why a turn could not be asked."""


class Conversations:
    """Answers the generation requests of one shard."""

    def __init__(
        self,
        complete: Callable[[Sequence[Row]], None],
        reader: AnswerReader,
        prompter: Prompter,
        *,
        max_length: int,
        overlong: Overlong,
    ) -> None:
        """Take what answers.

        Args:
            complete: Completes rows, with all their turns.
            reader: Makes answers of tokens.
            prompter: Renders and encodes.
            max_length: Context in tokens.
            overlong: What happens to a prompt that does not fit beside its answer.
        """
        self._complete = complete
        self._reader = reader
        self._prompter = prompter
        self._max_length = max_length
        self._overlong: Overlong = overlong

    def answer(self, requests: Sequence[Request]) -> list[Prediction]:
        """Predictions of the requests of one shard, in order; repeats of a sample stand behind each other."""
        begun: list[_Conversation] = []
        rows: dict[int, Row] = {}
        for i, request in enumerate(requests):
            talk = _Conversation(request=request)
            begun.append(talk)
            before = begun[i - 1] if i else None
            if before is not None and before.refusal is None and _is_repeat(before.request, request):
                talk.num_truncated = before.num_truncated
                prompt: list[int] | None = rows[i - 1].prompt
            else:
                prompt = self._prompt(talk)
            if prompt is not None:
                rows[i] = self._row(talk, prompt)
        self._complete(list(rows.values()))
        return [_refused(talk) or self._prediction(talk, rows[i]) for i, talk in enumerate(begun)]

    def _row(self, talk: _Conversation, prompt: list[int]) -> Row:
        request = talk.request
        seed = seed_of(request)

        def follow(row: Row) -> list[int] | None:
            if len(talk.answers) == len(request.turns):
                return None
            talk.answers.append(self._read(row)[1])
            return self._prompt(talk)

        return Row(
            prompt=prompt,
            sampling=request.sampling or Sampling(),
            draw=None if seed is None else Random(seed),
            keep_tokens=request.keep_tokens,
            follow=follow if request.turns else None,
        )

    def _prompt(self, talk: _Conversation) -> list[int] | None:
        """Tokens of the prompt of the next turn, leaving room for the answer (lm_eval models/huggingface.py, generate_until); None: refused."""
        num_new = (talk.request.sampling or Sampling()).max_tokens
        room = self._max_length - num_new
        try:
            if room < 1:
                message = f"max_tokens {num_new} leaves no room for a prompt in a context of {self._max_length}. Lower max_tokens."
                raise PromptError(ErrorCode.OVERLONG, message)
            prompt, talk.num_truncated = fit_prompt(
                talk.request, self._overlong, room=room, encode=lambda request: self._prompter.prompt(request, talk.answers)
            )
        except PromptError as error:
            talk.refusal = error
            return None
        return prompt

    def _read(self, row: Row) -> tuple[str | None, str]:
        """Reasoning and answer of a row's present turn."""
        return self._reader.read(row.new, row.sampling.stop, is_stopped=row.finish is FinishReason.STOP)

    def _prediction(self, talk: _Conversation, row: Row) -> Prediction:
        request = talk.request
        if row.finish is None:
            raise InternalError(f"sample '{request.sample_id}': its answer was never finished.")
        if row.finish is FinishReason.ERROR:
            return nonfinite(request) if row.error is None else failed(request, row.error)
        reasoning, text = self._read(row)
        return Prediction(
            sample_id=request.sample_id,
            request=request.request,
            repeat=request.repeat,
            finish_reason=row.finish,
            num_prompt_tokens=len(row.prompt),
            num_output_tokens=row.num_new,
            num_truncated_tokens=talk.num_truncated,
            output=Generation(
                text=text,
                reasoning=reasoning,
                turns=(*talk.answers, text) if request.turns else (),
                token_logprobs=tuple(row.logprobs) if request.keep_tokens else None,
            ),
        )


def _refused(talk: _Conversation) -> Prediction | None:
    if talk.refusal is None:
        return None
    turn = f"turn {len(talk.answers) + 1}: " if talk.answers else ""
    return Prediction.failed(talk.request, talk.refusal.code, turn + talk.refusal.message)


def _is_repeat(a: Request, b: Request) -> bool:
    """Whether two requests differ in repeat and seed only: then they have the same prompt."""
    return a.sample_id == b.sample_id and a.repeat != b.repeat and replace(a, repeat=b.repeat, seed=b.seed) == b
