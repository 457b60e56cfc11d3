"""Requests for generate, loglikelihood and rolling, answered by a module that predicts the next token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from raybench.core.fingerprint import seed_for
from raybench.core.types import ErrorCode, FinishReason, Generation, Likelihoods, Prediction, Request, Sampling, TextLikelihood
from raybench.engines.answer import AnswerReader
from raybench.engines.module_text import NextToken
from raybench.engines.prompting import Fitted, Overlong, Prompter, PromptError, cut_left, fit
from raybench.engines.reading import nonfinite, scored
from raybench.engines.rolling import windows
from raybench.engines.rows import Row, Stepper


class TextAnswers:
    """Answers to what a left-to-right model can be asked. Tokens as in the engine for decoders."""

    def __init__(self, prompter: Prompter, reader: AnswerReader, *, eos: frozenset[int], max_length: int, overlong: Overlong) -> None:
        """Take what turns requests into tokens and tokens into answers.

        Args:
            prompter: Renders and encodes requests.
            reader: Decodes answers.
            eos: Tokens that end an answer.
            max_length: Tokens that the module reads at once.
            overlong: What happens to a prompt that does not fit.
        """
        self._prompter = prompter
        self._reader = reader
        self._eos = eos
        self._max_length = max_length
        self._overlong: Overlong = overlong

    def generate(self, model: NextToken, requests: Sequence[Request]) -> list[Prediction]:
        """Answer `generate` requests."""
        refused: dict[int, Prediction] = {}
        rows: dict[int, tuple[Row, int]] = {}
        for i, request in enumerate(requests):
            sampling = request.sampling or Sampling()
            try:
                prompt, num_truncated = self._fit_prompt(request, sampling)
            except PromptError as error:
                refused[i] = Prediction.failed(request, error.code, error.message)
                continue
            draw = _draw(request, sampling)
            rows[i] = Row(prompt=prompt, sampling=sampling, draw=draw, keep_tokens=request.keep_tokens), num_truncated
        model.write([row for row, _ in rows.values()], Stepper(self._reader, self._eos))
        return [refused[i] if i in refused else self._written(request, *rows[i]) for i, request in enumerate(requests)]

    def _fit_prompt(self, request: Request, sampling: Sampling) -> tuple[list[int], int]:
        if request.turns:
            raise PromptError(ErrorCode.REFUSED, "a plain module writes one answer: it takes no further turns.")
        room = self._max_length - sampling.max_tokens
        if room < 1:
            message = f"max_tokens {sampling.max_tokens} leaves no room for a prompt in a context of {self._max_length}. Lower max_tokens."
            raise PromptError(ErrorCode.OVERLONG, message)
        fitted = fit(request, self._overlong, encode=self._prompter.prompt, excess=lambda p: len(p) - room, length=len)
        prompt = cut_left(fitted.encoded, room)
        return prompt, fitted.num_dropped + len(fitted.encoded) - len(prompt)

    def _written(self, request: Request, row: Row, num_truncated: int) -> Prediction:
        if row.finish is FinishReason.ERROR or row.finish is None:
            return nonfinite(request)
        is_stopped = row.finish is FinishReason.STOP
        reasoning, text = self._reader.read(row.new, row.sampling.stop, is_stopped=is_stopped)
        kept = tuple(row.logprobs) if request.keep_tokens else None
        return Prediction(
            sample_id=request.sample_id,
            request=request.request,
            repeat=request.repeat,
            finish_reason=row.finish,
            num_prompt_tokens=len(row.prompt),
            num_output_tokens=row.num_new,
            num_truncated_tokens=num_truncated,
            output=Generation(text=text, reasoning=reasoning, token_logprobs=kept),
        )

    def loglikelihood(self, model: NextToken, requests: Sequence[Request]) -> list[Prediction]:
        """Answer `loglikelihood` requests."""
        found: dict[int, Prediction] = {}
        rows: list[tuple[list[int], list[int]]] = []
        places: dict[int, tuple[range, Fitted[tuple[list[int], list[list[int]]]]]] = {}
        for i, request in enumerate(requests):
            try:
                fitted = self._fit_pairs(request)
            except PromptError as error:
                found[i] = Prediction.failed(request, error.code, error.message)
                continue
            context, continuations = fitted.encoded
            places[i] = range(len(rows), len(rows) + len(continuations)), fitted
            # the last token of a continuation is only predicted
            rows += [(cut_left(context, self._max_length + 1 - len(c)), c) for c in continuations]
        scores = model.score(rows)
        for i, (mine, fitted) in places.items():
            parts = [scores[n] for n in mine]
            if not all(math.isfinite(x) for logprobs, _ in parts for x in logprobs):
                found[i] = nonfinite(requests[i])
                continue
            kept = min(len(rows[n][0]) for n in mine)
            output = Likelihoods(
                logprobs=tuple(math.fsum(logprobs) for logprobs, _ in parts),
                is_greedy=tuple(is_greedy for _, is_greedy in parts),
                num_tokens=tuple(len(logprobs) for logprobs, _ in parts),
                token_logprobs=tuple(logprobs for logprobs, _ in parts) if requests[i].keep_tokens else None,
            )
            num_truncated = fitted.num_dropped + len(fitted.encoded[0]) - kept
            longest = max(len(rows[n][0]) for n in mine)
            found[i] = scored(requests[i], output, num_prompt_tokens=longest, num_truncated=num_truncated)
        return [found[i] for i in range(len(requests))]

    def _fit_pairs(self, request: Request) -> Fitted[tuple[list[int], list[list[int]]]]:
        fitted = fit(
            request,
            self._overlong,
            encode=self._prompter.pairs,
            excess=lambda pair: len(pair[0]) + max(map(len, pair[1])) - (self._max_length + 1),
            length=lambda pair: len(pair[0]),
        )
        longest = max(map(len, fitted.encoded[1]))
        if longest > self._max_length:
            raise PromptError(ErrorCode.OVERLONG, f"a continuation of {longest} tokens does not fit into a context of {self._max_length}.")
        return fitted

    def rolling(self, model: NextToken, requests: Sequence[Request]) -> list[Prediction]:
        """Answer `rolling` requests."""
        found: dict[int, Prediction] = {}
        rows: list[tuple[list[int], list[int]]] = []
        texts: dict[int, tuple[range, int]] = {}
        for i, request in enumerate(requests):
            try:
                tokens = self._prompter.rolling(request)
            except PromptError as error:
                found[i] = Prediction.failed(request, error.code, error.message)
                continue
            start = len(rows)
            rows += windows(tokens, prefix=self._prompter.prefix_id, max_length=self._max_length)
            texts[i] = range(start, len(rows)), len(tokens)
        scores = model.score(rows)
        for i, (mine, num_tokens) in texts.items():
            logprobs = tuple(x for n in mine for x in scores[n][0])
            if not all(map(math.isfinite, logprobs)):
                found[i] = nonfinite(requests[i])
                continue
            kept = logprobs if requests[i].keep_tokens else None
            output = TextLikelihood(logprob=math.fsum(logprobs), num_tokens=num_tokens, token_logprobs=kept)
            found[i] = scored(requests[i], output, num_prompt_tokens=num_tokens)
        return [found[i] for i in range(len(requests))]


def _draw(request: Request, sampling: Sampling) -> Random | None:
    if sampling.temperature == 0:
        return None
    # a request made by hand may have no seed: its key still tells its draws apart from those of other repeats
    seed = request.seed if request.seed is not None else seed_for(0, request.request, request.sample_id, request.repeat, "sampling")
    return Random(seed)
