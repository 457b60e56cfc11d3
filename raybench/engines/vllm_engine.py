"""The vLLM engine: continuous batching over the shards in flight, likelihoods through the prefix cache, checkpoints swapped where that is proved right."""

from __future__ import annotations

import math
import shutil
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal

from raybench.core.checkpoint import Checkpoint
from raybench.core.engine_config import VllmConfig, engine_config
from raybench.core.errors import InternalError
from raybench.core.protocols import EngineSpec
from raybench.core.types import (
    ErrorCode,
    FinishReason,
    Kind,
    Likelihoods,
    Prediction,
    Request,
    TextLikelihood,
)
from raybench.engines.answer import AnswerReader
from raybench.engines.conversation import Conversations
from raybench.engines.prompting import Fitted, Prompter, PromptError, cut_left, fit
from raybench.engines.rolling import windows
from raybench.engines.vllm_generate import VllmGenerator
from raybench.engines.vllm_score import Item, TokenScores, score
from raybench.engines.vllm_start import place_of, start
from raybench.engines.vllm_swap import Swapper


class VllmEngine:
    """A decoder in vLLM. Thread-safe: the requests of several shards run together."""

    kinds: frozenset[Kind] = frozenset({Kind.GENERATE, Kind.LOGLIKELIHOOD, Kind.ROLLING})
    concurrency: int = 2
    reproducible: Literal["exact", "measured"] = "measured"

    def __init__(self, spec: EngineSpec) -> None:
        """Start vLLM with the checkpoint of `spec`.

        Raises:
            CheckpointError: when it cannot be loaded.
            ConfigError: when vLLM is missing or refuses the options.
            EngineDead: when vLLM does not start.
        """
        options = engine_config({**spec.options, "kind": "vllm"})
        assert isinstance(options, VllmConfig), "the engine table maps vllm to VllmConfig"
        self._options = options
        if options.deterministic:
            self.concurrency, self.reproducible = 1, "exact"
        self._checkpoint = spec.checkpoint
        self._place = place_of(spec.checkpoint, options)
        self._prompter = Prompter(self._place.tokenizer, spec.checkpoint)
        self._feed, self._logs = start(self._place, spec.checkpoint, options)
        self._swapper = Swapper(self._feed, options)
        # a generation would not show it: NaN has a most probable token too
        probe = score([Item(context=[self._prompter.prefix_id], continuations=[[self._prompter.prefix_id]])], self._feed.ask)[0]
        self._is_damaged = not isinstance(probe, ValueError) and not math.isfinite(probe[0].logprob)
        self._one_at_a_time = threading.Lock()

    @property
    def swap_refused(self) -> str | None:
        """Why the last swap did not count."""
        return self._swapper.refused

    @property
    def max_length(self) -> int:
        """Context in tokens."""
        return self._place.max_length

    def run(self, requests: Sequence[Request]) -> list[Prediction]:
        """Answer one shard, together with what other threads ask meanwhile; in deterministic mode alone."""
        if not self._options.deterministic:
            return self._run(requests)
        with self._one_at_a_time:
            self._feed.call(lambda engine: engine.reset_prefix_cache())
            return self._run(requests)

    def _run(self, requests: Sequence[Request]) -> list[Prediction]:
        found: list[Prediction | None] = [None] * len(requests)
        by_kind: dict[Kind, Callable[[list[Request]], list[Prediction]]] = {
            Kind.GENERATE: self._generate,
            Kind.LOGLIKELIHOOD: self._loglikelihood,
            Kind.ROLLING: self._rolling,
        }
        for kind in dict.fromkeys(r.kind for r in requests):
            at = [i for i, r in enumerate(requests) if r.kind is kind]
            for i, prediction in zip(at, by_kind.get(kind, _refuse)([requests[i] for i in at]), strict=True):
                found[i] = prediction
        if any(p is None for p in found):
            raise InternalError(f"{len(requests)} requests, {sum(p is not None for p in found)} predictions.")
        return [p for p in found if p is not None]

    def load(self, checkpoint: Checkpoint) -> bool:
        """Swap other weights into the live engine, where configuration and tokenizer are the same and the swap is proved right."""
        if self._options.swap == "always-restart":
            return False
        place = place_of(checkpoint, self._options)
        if place.layout != self._place.layout or place.max_length != self._place.max_length:
            return False
        if not self._swapper.swap(self._place, self._checkpoint, place, checkpoint):
            return False
        self._place, self._checkpoint = place, checkpoint
        self._prompter = Prompter(place.tokenizer, checkpoint)
        return True

    def progress(self) -> int:
        """Answers of the engine's process so far."""
        return self._feed.num_steps

    def numerics(self) -> dict[str, str]:
        """What decides the last digits of this engine: attention backends and threads of its workers."""
        return dict(self._feed.call(lambda engine: engine.collective_rpc("raybench_numerics"))[0])

    def close(self) -> None:
        """End vLLM's processes."""
        self._feed.close()
        shutil.rmtree(self._logs, ignore_errors=True)

    # ---- generate

    def _generate(self, requests: list[Request]) -> list[Prediction]:
        if self._is_damaged:
            return [self._nonfinite(r) for r in requests]
        reader = AnswerReader(self._place.tokenizer, self._checkpoint.think_end)
        generator = VllmGenerator(self._feed.ask, reader, self._place.eos)
        completer: Any = generator  # has what conversations need
        conversations = Conversations(completer, self._prompter, max_length=self.max_length, overlong=self._options.overlong)
        return conversations.answer(
            requests, nonfinite=lambda r: self._nonfinite(r) if generator.refusal is None else _refused(r, generator.refusal)
        )

    # ---- likelihoods

    def _loglikelihood(self, requests: list[Request]) -> list[Prediction]:
        found: dict[int, Prediction] = {}
        items: list[Item] = []
        places: dict[int, list[tuple[int, int]]] = {}  # of each continuation: its item, and its number in that item
        truncated: dict[int, int] = {}
        for i, request in enumerate(requests):
            try:
                fitted = self._fit_pairs(request)
            except PromptError as error:
                found[i] = Prediction.failed(request, error.code, error.message)
                continue
            context, continuations = fitted.encoded
            # how much of the context each continuation leaves room for; the last token of a continuation is only predicted
            kept = [min(len(context), self.max_length + 1 - len(c)) for c in continuations]
            places[i] = [(0, 0)] * len(kept)
            for num_kept in dict.fromkeys(kept):  # one item, unless the context is cut
                mine = [j for j, n in enumerate(kept) if n == num_kept]
                for k, j in enumerate(mine):
                    places[i][j] = len(items), k
                items.append(Item(context=cut_left(context, num_kept), continuations=[continuations[j] for j in mine]))
            truncated[i] = fitted.num_dropped + len(context) - min(kept)
        scores = score(items, self._feed.ask)
        for i, where in places.items():
            mine_or_error = _picked(scores, where)
            if isinstance(mine_or_error, ValueError):
                found[i] = _refused(requests[i], mine_or_error)
                continue
            longest = max(len(items[n].context) for n, _ in where)
            found[i] = self._scored(requests[i], mine_or_error, num_prompt=longest, num_truncated=truncated[i])
        return [found[i] for i in range(len(requests))]

    def _fit_pairs(self, request: Request) -> Fitted[tuple[list[int], list[list[int]]]]:
        """Tokens of context and continuations; the context may still have to be cut (lm_eval models/huggingface.py, _loglikelihood_tokens)."""
        fitted = fit(
            request,
            self._options.overlong,
            encode=self._prompter.pairs,
            excess=lambda pair: len(pair[0]) + max(map(len, pair[1])) - (self.max_length + 1),
            length=lambda pair: len(pair[0]),
        )
        longest = max(map(len, fitted.encoded[1]))
        if longest > self.max_length:
            message = f"a continuation of {longest} tokens does not fit into a context of {self.max_length}."
            raise PromptError(ErrorCode.OVERLONG, message)
        return fitted

    def _scored(self, request: Request, scores: Sequence[TokenScores], *, num_prompt: int, num_truncated: int) -> Prediction:
        logprobs = tuple(s.logprob for s in scores)
        if any(map(math.isnan, logprobs)):
            return self._nonfinite(request)
        return Prediction(
            sample_id=request.sample_id,
            request=request.request,
            repeat=request.repeat,
            finish_reason=FinishReason.SCORED,
            num_prompt_tokens=num_prompt,
            num_truncated_tokens=num_truncated,
            output=Likelihoods(
                logprobs=logprobs,
                is_greedy=tuple(s.is_greedy for s in scores),
                num_tokens=tuple(len(s.logprobs) for s in scores),
                token_logprobs=tuple(s.logprobs for s in scores) if request.keep_tokens else None,
            ),
        )

    def _rolling(self, requests: list[Request]) -> list[Prediction]:
        found: dict[int, Prediction] = {}
        items: list[Item] = []
        texts: dict[int, tuple[range, int]] = {}
        for i, request in enumerate(requests):
            try:
                tokens = self._prompter.rolling(request)
            except PromptError as error:
                found[i] = Prediction.failed(request, error.code, error.message)
                continue
            begin = len(items)
            pairs = windows(tokens, prefix=self._prompter.prefix_id, max_length=self.max_length)
            items += [Item(context=context, continuations=[scored]) for context, scored in pairs]
            texts[i] = range(begin, len(items)), len(tokens)
        scores = score(items, self._feed.ask)
        for i, (mine, num_tokens) in texts.items():
            request, parts = requests[i], _picked(scores, [(n, 0) for n in mine])
            if isinstance(parts, ValueError):
                found[i] = _refused(request, parts)
                continue
            whole = TokenScores(logprobs=tuple(x for part in parts for x in part.logprobs), is_greedy=False)
            if math.isnan(whole.logprob):
                found[i] = self._nonfinite(request)
                continue
            found[i] = Prediction(
                sample_id=request.sample_id,
                request=request.request,
                repeat=request.repeat,
                finish_reason=FinishReason.SCORED,
                num_prompt_tokens=num_tokens,
                output=TextLikelihood(
                    logprob=whole.logprob, num_tokens=num_tokens, token_logprobs=whole.logprobs if request.keep_tokens else None
                ),
            )
        return [found[i] for i in range(len(requests))]

    def _nonfinite(self, request: Request) -> Prediction:
        message = f"the log-probabilities are NaN or infinite: the weights are damaged, or {self._options.dtype} is too narrow for them."
        return Prediction.failed(request, ErrorCode.NONFINITE, message)


def _picked(scores: Sequence[list[TokenScores] | ValueError], places: Sequence[tuple[int, int]]) -> list[TokenScores] | ValueError:
    """The scores at (item, number) places, or the first refusal among them."""
    picked = []
    for item, number in places:
        of_item = scores[item]
        if isinstance(of_item, ValueError):
            return of_item
        picked.append(of_item[number])
    return picked


def _refused(request: Request, error: ValueError | str) -> Prediction:
    return Prediction.failed(request, ErrorCode.REFUSED, f"vLLM refused the request: {' '.join(str(error).split())[:300]}")


def _refuse(requests: list[Request]) -> list[Prediction]:
    return [Prediction.failed(r, ErrorCode.REFUSED, f"vLLM cannot answer '{r.kind}' requests here.") for r in requests]
