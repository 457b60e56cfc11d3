"""The PyTorch engine: any decoder of transformers, exact in the sense that a shard's rows depend on the checkpoint and the shard alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from raybench.core.checkpoint import Checkpoint
from raybench.core.engine_config import PytorchConfig, engine_config
from raybench.core.errors import ConfigError, InternalError
from raybench.core.protocols import EngineSpec
from raybench.core.types import ErrorCode, FinishReason, Kind, Likelihoods, Prediction, Request, TextLikelihood
from raybench.engines import pytorch_load
from raybench.engines.conversation import Conversations
from raybench.engines.generate import Generator
from raybench.engines.likelihood import Score, Scorer
from raybench.engines.memory import answer_within, free
from raybench.engines.prompting import Fitted, Prompter, PromptError, cut_left, fit
from raybench.engines.rolling import windows
from raybench.engines.token_tree import Item

_DEFAULT_MAX_LENGTH = 2048  # lm_eval models/utils.py, where neither the model nor its tokenizer says


class PytorchCausalEngine:
    """A decoder of transformers in this process. One shard at a time."""

    kinds: frozenset[Kind] = frozenset({Kind.GENERATE, Kind.LOGLIKELIHOOD, Kind.ROLLING})
    concurrency: int = 1
    reproducible: Literal["exact", "measured"] = "exact"

    def __init__(self, spec: EngineSpec) -> None:
        """Load the checkpoint of `spec`.

        Raises:
            CheckpointError: when it cannot be loaded.
            ConfigError: when the options are wrong or the device is not there.
        """
        import torch

        options = engine_config({**spec.options, "kind": "pytorch"})
        assert isinstance(options, PytorchConfig), "the engine table maps pytorch to PytorchConfig"
        self._options = options
        torch.set_num_threads(options.threads)
        self._take(pytorch_load.load(spec.checkpoint, options), spec.checkpoint)
        self._max_length = _max_length(self._loaded, options.max_length)
        self._scorer = Scorer(self._loaded.model, batch_tokens=options.batch_tokens)
        self._num_steps = 0
        self._loaded.model.register_forward_pre_hook(self._count_step)

    @property
    def has_chat_template(self) -> bool:
        """Whether the tokenizer of the checkpoint carries a chat template."""
        return bool(self._loaded.tokenizer.chat_template)

    @property
    def max_length(self) -> int:
        """Context in tokens."""
        return self._max_length

    def run(self, requests: Sequence[Request]) -> list[Prediction]:
        """Answer one shard; batches are formed inside it. When memory runs out, the whole shard is computed again with half the budget."""
        import torch

        torch.set_num_threads(self._options.threads)  # another engine in this process may have changed it
        return answer_within(
            self._options.batch_tokens, lambda budget: self._attempt(requests, budget), self._loaded.model.device, self._notices
        )

    def _attempt(self, requests: Sequence[Request], budget: int) -> list[Prediction]:
        """Answer with at most `budget` tokens in a forward pass."""
        self._scorer.batch_tokens = self._generator.batch_tokens = budget
        try:
            return self._answers(requests)
        finally:
            self._scorer.batch_tokens = self._generator.batch_tokens = self._options.batch_tokens

    def _answers(self, requests: Sequence[Request]) -> list[Prediction]:
        found: list[Prediction | None] = [None] * len(requests)
        by_kind: dict[Kind, Callable[[list[Request]], list[Prediction]]] = {
            Kind.GENERATE: self._generate,
            Kind.LOGLIKELIHOOD: self._loglikelihood,
            Kind.ROLLING: self._rolling,
        }
        for kind in dict.fromkeys(r.kind for r in requests):
            at = [i for i, r in enumerate(requests) if r.kind is kind]
            answer = by_kind.get(kind, _refuse)
            for i, prediction in zip(at, answer([requests[i] for i in at]), strict=True):
                found[i] = prediction
        if any(p is None for p in found):
            raise InternalError(f"{len(requests)} requests, {sum(p is not None for p in found)} predictions.")
        return [p for p in found if p is not None]

    @property
    def _notices(self) -> list[str]:
        return [n for n in (self._scorer.notice, self._generator.notice) if n is not None]

    def load(self, checkpoint: Checkpoint) -> bool:
        """Swap other weights into the live module where configuration and tokenizer are the same; False otherwise."""
        swapped = pytorch_load.swap(self._loaded, checkpoint)
        if swapped is None:
            return False
        self._take(swapped, checkpoint)
        return True

    def progress(self) -> int:
        """Forward passes so far."""
        return self._num_steps

    def _count_step(self, *_: object) -> None:
        self._num_steps += 1

    def close(self) -> None:
        """Free the model's memory."""
        del self._loaded, self._scorer, self._generator, self._prompter
        free()

    def _take(self, loaded: pytorch_load.Loaded, checkpoint: Checkpoint) -> None:
        self._loaded = loaded
        self._prompter = Prompter(loaded.tokenizer, checkpoint)
        self._generator = Generator(
            loaded.model, loaded.tokenizer, eos=loaded.eos, batch_tokens=self._options.batch_tokens, think_end=checkpoint.think_end
        )

    def _generate(self, requests: list[Request]) -> list[Prediction]:
        conversations = Conversations(self._generator, self._prompter, max_length=self.max_length, overlong=self._options.overlong)
        return conversations.answer(requests, nonfinite=self._nonfinite)

    def _loglikelihood(self, requests: list[Request]) -> list[Prediction]:
        refused: dict[int, Prediction] = {}
        items: list[Item] = []
        places: dict[int, list[tuple[int, int]]] = {}  # of each continuation: its item, and its number in that item
        truncated: dict[int, int] = {}
        for i, request in enumerate(requests):
            try:
                fitted = self._fit_pairs(request)
            except PromptError as error:
                refused[i] = Prediction.failed(request, error.code, error.message)
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
        scores = self._scorer.score(items)
        return [refused[i] if i in refused else self._scored(r, items, scores, places[i], truncated[i]) for i, r in enumerate(requests)]

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

    def _scored(
        self, request: Request, items: list[Item], scores: list[list[Score]], places: list[tuple[int, int]], num_truncated: int
    ) -> Prediction:
        mine = [scores[i][k] for i, k in places]
        if not all(math.isfinite(s.logprob) for s in mine):
            return self._nonfinite(request)
        return Prediction(
            sample_id=request.sample_id,
            request=request.request,
            repeat=request.repeat,
            finish_reason=FinishReason.SCORED,
            num_prompt_tokens=max(len(items[i].context) for i, _ in places),
            num_truncated_tokens=num_truncated,
            output=Likelihoods(
                logprobs=tuple(s.logprob for s in mine),
                is_greedy=tuple(s.is_greedy for s in mine),
                num_tokens=tuple(len(items[i].continuations[k]) for i, k in places),
                token_logprobs=tuple(s.tokens for s in mine) if request.keep_tokens else None,
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
            start = len(items)
            pairs = windows(tokens, prefix=self._prompter.prefix_id, max_length=self.max_length)
            items += [Item(context=context, continuations=[scored]) for context, scored in pairs]
            texts[i] = range(start, len(items)), len(tokens)
        scores = self._scorer.score_apart(items)  # every window has a context of its own
        for i, (mine, num_tokens) in texts.items():
            logprob = math.fsum(scores[n][0].logprob for n in mine)
            if not math.isfinite(logprob):
                found[i] = self._nonfinite(requests[i])
                continue
            found[i] = Prediction(
                sample_id=requests[i].sample_id,
                request=requests[i].request,
                repeat=requests[i].repeat,
                finish_reason=FinishReason.SCORED,
                num_prompt_tokens=num_tokens,
                output=TextLikelihood(
                    logprob=logprob,
                    num_tokens=num_tokens,
                    token_logprobs=tuple(x for n in mine for x in scores[n][0].tokens) if requests[i].keep_tokens else None,
                ),
            )
        return [found[i] for i in range(len(requests))]

    def _nonfinite(self, request: Request) -> Prediction:
        message = f"the logits are NaN or infinite: the weights are damaged, or {self._loaded.model.dtype} is too narrow for them."
        return Prediction.failed(request, ErrorCode.NONFINITE, message)


def _max_length(loaded: pytorch_load.Loaded, wanted: int | None) -> int:
    """Context in tokens: what is wanted, or what configuration or tokenizer say (lm_eval models/utils.py, resolve_max_length).

    Raises:
        ConfigError: when more is wanted than the model has positions for.
    """
    config = loaded.model.config.get_text_config()
    known = (getattr(config, name, None) for name in ("n_positions", "max_position_embeddings", "n_ctx"))
    positions = next((int(n) for n in known if n is not None), None)
    if wanted is not None:
        if positions is not None and wanted > positions:
            raise ConfigError(
                f"engine.max_length: {wanted} is more than the {positions} positions of the checkpoint. Lower it, or leave it out."
            )
        return wanted
    length = loaded.tokenizer.model_max_length
    return positions or (int(length) if length < 10**9 else _DEFAULT_MAX_LENGTH)


def _refuse(requests: list[Request]) -> list[Prediction]:
    return [Prediction.failed(r, ErrorCode.REFUSED, f"a decoder cannot answer '{r.kind}' requests.") for r in requests]
