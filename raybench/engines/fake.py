"""The fake engine: answers are a pure function of the request, the checkpoint and the seed; failures are played on demand.

A product like the other engines: for tests, benchmarks of the driver, and trying out a configuration. One character is one token.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Literal

from raybench.core.checkpoint import Checkpoint
from raybench.core.engine_config import FakeConfig, Fault, engine_config
from raybench.core.errors import CheckpointError, EngineDead, EngineError
from raybench.core.outputs import Classification, Generation, Likelihoods, TextLikelihood
from raybench.core.protocols import EngineSpec
from raybench.core.types import ErrorCode, FinishReason, Kind, Prediction, Request, Sampling

_CONSTANT = "The answer is 1."
_SCALE = 1 / 2**32
_GREEDY = Sampling()
_ROW_FAULTS = {"nan": ErrorCode.NONFINITE, "row": ErrorCode.REFUSED}


class FakeEngine:
    """Answers without a model. See `FakeConfig` for its options."""

    kinds: frozenset[Kind] = frozenset({Kind.GENERATE, Kind.LOGLIKELIHOOD, Kind.ROLLING, Kind.FILL, Kind.CLASSIFY})
    reproducible: Literal["exact", "measured"] = "exact"

    def __init__(self, spec: EngineSpec) -> None:
        """Take the checkpoint of `spec`, after `start_s` seconds.

        Raises:
            CheckpointError: when the configuration calls it broken.
            ConfigError: when the options are wrong.
        """
        options = engine_config({**spec.options, "kind": "fake"})
        assert isinstance(options, FakeConfig), "the engine table maps fake to FakeConfig"
        self._options = options
        self._num_answered = 0
        self.concurrency: int = options.concurrency
        self._lock = threading.Lock()
        self._played = [0] * len(options.faults)
        self.load(spec.checkpoint)

    def load(self, checkpoint: Checkpoint) -> bool:
        """Take another checkpoint; always possible."""
        if self._options.start_s > 0:
            time.sleep(self._options.start_s)
        names = {checkpoint.uri, checkpoint.uri.rstrip("/").rpartition("/")[2]}
        if names & set(self._options.broken):
            raise CheckpointError(f"checkpoint '{checkpoint.uri}': broken, as engine.broken of the fake engine says. Take it off the list.")
        self._salt = hashlib.blake2b((checkpoint.identity or checkpoint.uri).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        return True

    def progress(self) -> int:
        """Requests answered so far."""
        return self._num_answered

    def close(self) -> None:
        """Nothing to free."""

    def run(self, requests: Sequence[Request]) -> list[Prediction]:
        """Answer one shard."""
        options = self._options
        self._num_answered += len(requests)
        row_faults = self._play(requests) if options.faults else {}
        seconds = options.shard_s + options.request_s * len(requests)
        if seconds > 0:
            time.sleep(seconds)
        if row_faults:
            return [_fault_row(r, row_faults[r.sample_id]) if r.sample_id in row_faults else self._answer(r) for r in requests]
        return [self._answer(r) for r in requests]

    def _answer(self, request: Request) -> Prediction:
        context = request.prompt
        if request.shots or request.description or request.prefix:
            context = request.context
        num_truncated = 0
        if len(context) > self._options.context and request.kind is not Kind.ROLLING:
            fitted = self._fit(request, context)
            if isinstance(fitted, Prediction):
                return fitted
            num_truncated = len(context) - len(fitted)
            context = fitted
        if request.kind is Kind.GENERATE:
            return self._generate(request, context, num_truncated)
        if request.kind in (Kind.LOGLIKELIHOOD, Kind.FILL):
            return self._choose(request, context, num_truncated)
        if request.kind is Kind.CLASSIFY:
            return self._classify(request, context, num_truncated)
        if request.kind is Kind.ROLLING:
            return self._score_text(request)
        return Prediction.failed(request, ErrorCode.REFUSED, f"the fake engine cannot answer '{request.kind}' requests.")

    def _generate(self, request: Request, context: str, num_truncated: int) -> Prediction:
        text, reason, num_tokens = self._say(request, context)
        turns: list[str] = []
        for turn in request.turns:
            turns.append(text)
            text, reason, num_more = self._say(request, turn if self._options.answer == "echo" else f"{context}\0{text}\0{turn}")
            num_tokens += num_more
        return Prediction(
            sample_id=request.sample_id,
            request=request.request,
            repeat=request.repeat,
            finish_reason=reason,
            num_prompt_tokens=len(context),
            num_output_tokens=num_tokens,
            num_truncated_tokens=num_truncated,
            output=Generation(
                text=text,
                turns=(*turns, text) if turns else (),
                token_logprobs=(-1.0,) * num_tokens if request.keep_tokens else None,
            ),
        )

    def _say(self, request: Request, context: str) -> tuple[str, FinishReason, int]:
        """The answer to one turn, why it ended, and its length before a stop string cut it."""
        sampling = request.sampling or _GREEDY
        answer = self._options.answer
        if answer == "digest":
            text = self._hex(f"{request.seed}\0{context}", self._options.num_characters)
        else:
            text = context if answer == "echo" else _CONSTANT
        reason = FinishReason.STOP
        if len(text) > sampling.max_tokens:
            text, reason = text[: sampling.max_tokens], FinishReason.LENGTH
        num_tokens = len(text)
        for stop in sampling.stop:
            if stop and stop in text:
                text, reason = text.split(stop, 1)[0], FinishReason.STOP
        return text, reason, num_tokens

    def _choose(self, request: Request, context: str, num_truncated: int) -> Prediction:
        # without candidates `fill` is about the text itself
        options = request.continuations or ((context,) if request.kind is Kind.FILL else ())
        if not options or not all(options):
            return Prediction.failed(request, ErrorCode.EMPTY, "there is nothing to score: no continuation, or an empty one.")
        lengths = tuple(len(request.delimiter) + len(o) for o in options)
        if self._options.answer == "digest":
            numbers = [self._number(f"{request.delimiter}{o}\0{context}") for o in options]
        else:
            numbers = [i / len(options) for i in range(len(options))]  # `first`, and `echo`, which has nothing to say here
        return Prediction(
            sample_id=request.sample_id,
            request=request.request,
            repeat=request.repeat,
            finish_reason=FinishReason.SCORED,
            num_prompt_tokens=len(context),
            num_truncated_tokens=num_truncated,
            output=Likelihoods(
                logprobs=tuple([-0.01 - 20.0 * x for x in numbers]),
                is_greedy=tuple([x < 0.1 for x in numbers]),
                num_tokens=lengths,
                token_logprobs=tuple([((-0.01 - 20.0 * x) / n,) * n for x, n in zip(numbers, lengths, strict=True)])
                if request.keep_tokens
                else None,
            ),
        )

    def _classify(self, request: Request, context: str, num_truncated: int) -> Prediction:
        names = request.labels or ("",)
        text = f"{context}\0{request.pair or ''}"
        if self._options.answer == "digest":
            logits = tuple([20.0 * self._number(f"{name}\0{text}") for name in names])
        else:
            logits = tuple([-float(i) for i in range(len(names))])
        return Prediction(
            sample_id=request.sample_id,
            request=request.request,
            repeat=request.repeat,
            finish_reason=FinishReason.SCORED,
            num_prompt_tokens=len(text) - 1,
            num_truncated_tokens=num_truncated,
            output=Classification(logits=logits, label=request.labels[logits.index(max(logits))] if request.labels else None),
        )

    def _score_text(self, request: Request) -> Prediction:
        text = request.prompt
        if not text:
            return Prediction.failed(request, ErrorCode.EMPTY, "there is nothing to score: the text is empty.")
        return Prediction(
            sample_id=request.sample_id,
            request=request.request,
            repeat=request.repeat,
            finish_reason=FinishReason.SCORED,
            num_prompt_tokens=len(text),
            # one to two nats a character
            output=TextLikelihood(
                logprob=-len(text) * (1.0 + self._number(text)),
                num_tokens=len(text),
                token_logprobs=(-1.0 - self._number(text),) * len(text) if request.keep_tokens else None,
            ),
        )

    def _fit(self, request: Request, context: str) -> str | Prediction:
        """`context` shortened by the policy of the run, or the error row."""
        room = self._options.context
        if self._options.overlong == "truncate_left":
            return context[-room:]
        if self._options.overlong == "fewer_shots":
            for dropped in range(1, len(request.shots) + 1):
                shorter = replace(request, shots=request.shots[dropped:]).context
                if len(shorter) <= room:
                    return shorter
        return Prediction.failed(request, ErrorCode.OVERLONG, f"a prompt of {len(context)} characters; engine.context is {room}.")

    def _hex(self, text: str, num_characters: int) -> str:
        """A digest of the text; a longer one goes on with a stretch of noise that the digest chooses, so that it costs no more."""
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=64, salt=self._salt).hexdigest()
        if num_characters <= len(digest):
            return digest[:num_characters]
        noise, start, rest = _noise(self._salt), int(digest[:5], 16), num_characters - len(digest)
        if start + rest > len(noise):
            noise = noise[start:] + noise * (rest // len(noise) + 1)
            start = 0
        return digest + noise[start : start + rest]

    def _number(self, text: str) -> float:
        """A number in [0, 1) drawn from a hash."""
        raw = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4, salt=self._salt).digest()
        return int.from_bytes(raw, "big") * _SCALE

    def _play(self, requests: Sequence[Request]) -> dict[str, Fault]:
        """Play the first fault that strikes the whole shard; give those that strike single rows, by sample id."""
        ids = {r.sample_id for r in requests}
        rows: dict[str, Fault] = {}
        for index, fault in enumerate(self._options.faults):
            if fault.sample_id is not None and fault.sample_id not in ids:
                continue
            with self._lock:
                if fault.times is not None and self._played[index] >= fault.times:
                    continue
                self._played[index] += 1
            if fault.kind in _ROW_FAULTS:
                for sample_id in ids if fault.sample_id is None else (fault.sample_id,):
                    rows.setdefault(sample_id, fault)
            else:
                _strike(fault)
        return rows


@lru_cache(maxsize=4)
def _noise(salt: bytes) -> str:
    """2**20 characters that do not compress: repetitions are further apart than a compressor looks back."""
    return hashlib.shake_128(salt).hexdigest(2**19)


def _fault_row(request: Request, fault: Fault) -> Prediction:
    return Prediction.failed(request, _ROW_FAULTS[fault.kind], f"the fake engine plays '{fault.kind}' for this sample.")


def _strike(fault: Fault) -> None:
    message = f"the fake engine plays '{fault.kind}'{f' for sample {fault.sample_id!r}' if fault.sample_id else ''}."
    if fault.kind == "dead":
        raise EngineDead(message)
    if fault.kind == "exit":
        os._exit(1)
    if fault.kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault.kind == "hang":
        threading.Event().wait()
    raise EngineError(message)
