"""The PyTorch engine for encoder-decoders of transformers (T5, BART, Marian ...): what they write, and how likely they would write it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from raybench.core.checkpoint import Checkpoint
from raybench.core.engine_config import PytorchConfig, engine_config
from raybench.core.errors import CheckpointError, ConfigError
from raybench.core.fingerprint import seed_for
from raybench.core.protocols import EngineSpec
from raybench.core.types import ErrorCode, FinishReason, Generation, Kind, Likelihoods, Prediction, Request, Sampling
from raybench.engines import pytorch_load
from raybench.engines.answer import AnswerReader, cut
from raybench.engines.families import Family
from raybench.engines.memory import answer_within, free
from raybench.engines.prompting import Fitted, Prompter, PromptError, cut_left, fit
from raybench.engines.reading import nonfinite, scored
from raybench.engines.seq2seq_generate import Writer, Writing
from raybench.engines.seq2seq_likelihood import ContinuationScore, score

_DEFAULT_MAX_LENGTH = 512  # the inputs that T5 was trained with


class PytorchSeq2seqEngine:
    """An encoder-decoder in this process. One shard at a time."""

    concurrency: int = 1
    reproducible: Literal["exact", "measured"] = "exact"

    def __init__(self, spec: EngineSpec, family: Family) -> None:
        """Load the checkpoint of `spec`.

        Raises:
            CheckpointError: when it cannot be loaded, or does not say how an answer begins.
            ConfigError: when the options are wrong or the device is not there.
        """
        import torch

        options = engine_config({**spec.options, "kind": "pytorch"})
        assert isinstance(options, PytorchConfig), "the engine table maps pytorch to PytorchConfig"
        self.kinds = frozenset(family.kinds)
        self._options = options
        self._num_steps = 0
        torch.set_num_threads(options.threads)
        loaded = pytorch_load.load(spec.checkpoint, options, auto=family.auto)
        self._start_id = _start_id(loaded, spec.checkpoint)
        self._writer = Writer(loaded.model, decode=lambda tokens: self._answer_reader.decode(tokens, skip=False))
        self._take(loaded, spec.checkpoint)
        self._loaded.model.register_forward_pre_hook(self._count_step)

    @property
    def max_length(self) -> int:
        """Tokens that the encoder reads, and tokens that the decoder writes."""
        return self._max_length

    def run(self, requests: Sequence[Request]) -> list[Prediction]:
        """Answer one shard; batches are formed inside it."""
        import torch

        torch.set_num_threads(self._options.threads)  # another engine in this process may have changed it
        return answer_within(self._options.batch_tokens, lambda budget: self._answers(requests, budget), self._loaded.model.device)

    def _answers(self, requests: Sequence[Request], budget: int) -> list[Prediction]:
        by_kind = {Kind.GENERATE: self._generate, Kind.LOGLIKELIHOOD: self._loglikelihood}
        found: dict[int, Prediction] = {}
        for kind in dict.fromkeys(r.kind for r in requests):
            at = [i for i, r in enumerate(requests) if r.kind is kind]
            found |= zip(at, by_kind.get(kind, _refuse)([requests[i] for i in at], budget), strict=True)
        return [found[i] for i in range(len(requests))]

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
        del self._loaded, self._prompter, self._writer, self._answer_reader
        free()

    def _take(self, loaded: pytorch_load.Loaded, checkpoint: Checkpoint) -> None:
        self._loaded = loaded
        self._max_length = _max_length(loaded, self._options.max_length)
        self._prompter = Prompter(loaded.tokenizer, checkpoint)
        self._answer_reader = AnswerReader(loaded.tokenizer, checkpoint.think_end)
        self._writer.eos = loaded.eos
        pad = _known(loaded.tokenizer.pad_token_id, getattr(loaded.model.config, "pad_token_id", None))
        self._pad_id = 0 if pad is None else pad

    def _generate(self, requests: list[Request], budget: int) -> list[Prediction]:
        refused: dict[int, Prediction] = {}
        rows: dict[int, tuple[Writing, int]] = {}
        for i, request in enumerate(requests):
            sampling = request.sampling or Sampling()
            try:
                ids, num_truncated = self._fit(request, sampling)
            except PromptError as error:
                refused[i] = Prediction.failed(request, error.code, error.message)
                continue
            seed = request.seed
            if seed is None and sampling.temperature > 0:
                seed = seed_for(0, request.request, request.sample_id, request.repeat, "sampling")
            rows[i] = Writing(ids=ids, sampling=sampling, seed=seed), num_truncated
        self._writer.run([row for row, _ in rows.values()], budget=budget)
        kept = self._token_logprobs({i: row for i, (row, _) in rows.items() if requests[i].keep_tokens and row.answers}, budget)
        return [refused[i] if i in refused else self._written(request, *rows[i], kept.get(i)) for i, request in enumerate(requests)]

    def _fit(self, request: Request, sampling: Sampling) -> tuple[list[int], int]:
        """Tokens for the encoder, and how many were cut."""
        if request.turns:
            raise PromptError(ErrorCode.REFUSED, "an encoder-decoder reads one text and writes one answer: it takes no further turns.")
        if sampling.max_tokens > self._max_length:
            message = (
                f"max_tokens {sampling.max_tokens} is more than the {self._max_length} tokens that the decoder writes. Lower max_tokens."
            )
            raise PromptError(ErrorCode.OVERLONG, message)
        fitted = fit(
            request, self._options.overlong, encode=self._prompter.prompt, excess=lambda p: len(p) - self._max_length, length=len
        )  # fmt: skip
        prompt = cut_left(fitted.encoded, self._max_length)
        return prompt, fitted.num_dropped + len(fitted.encoded) - len(prompt)

    def _written(self, request: Request, row: Writing, num_truncated: int, logprobs: tuple[float, ...] | None) -> Prediction:
        if not row.answers:
            return nonfinite(request)
        stops = row.sampling.stop
        texts = [self._answer_reader.read(tokens, stops, is_stopped=True) for tokens in row.answers]
        reasoning, text = texts[0]
        whole = self._answer_reader.decode(row.answers[0], skip=False)
        is_ended = row.is_ended or cut(whole, stops) != whole
        return Prediction(
            sample_id=request.sample_id,
            request=request.request,
            repeat=request.repeat,
            finish_reason=FinishReason.STOP if is_ended else FinishReason.LENGTH,
            num_prompt_tokens=len(row.ids),
            num_output_tokens=row.num_new,
            num_truncated_tokens=num_truncated,
            output=Generation(
                text=text, reasoning=reasoning, alternatives=tuple(answer for _, answer in texts[1:]), token_logprobs=logprobs
            ),
        )

    def _token_logprobs(self, rows: dict[int, Writing], budget: int) -> dict[int, tuple[float, ...]]:
        """Of each token of the first hypothesis, with its end token: read once more, under the model itself."""
        if not rows:
            return {}
        end = next(iter(sorted(self._loaded.eos)), None)
        written = [[*row.answers[0], *([end] if row.is_ended and end is not None else [])] for row in rows.values()]
        full = [i for i, tokens in enumerate(written) if tokens]
        scores = self._score([list(rows.values())[i].ids for i in full], [[written[i]] for i in full], budget)
        found: dict[int, tuple[float, ...]] = {i: () for i in rows}
        for i, (one,) in zip(full, scores, strict=True):
            found[list(rows)[i]] = one.logprobs
        return found

    def _score(self, contexts: list[list[int]], continuations: list[list[list[int]]], budget: int) -> list[list[ContinuationScore]]:
        model = self._loaded.model
        return score(model, contexts, continuations, start_id=self._start_id, pad_id=self._pad_id, budget=budget)

    def _loglikelihood(self, requests: list[Request], budget: int) -> list[Prediction]:
        refused: dict[int, Prediction] = {}
        pairs: dict[int, Fitted[tuple[list[int], list[list[int]]]]] = {}
        for i, request in enumerate(requests):
            try:
                pairs[i] = self._fit_pairs(request)
            except PromptError as error:
                refused[i] = Prediction.failed(request, error.code, error.message)
        contexts = [cut_left(p.encoded[0], self._max_length) for p in pairs.values()]
        found = dict(zip(pairs, self._score(contexts, [p.encoded[1] for p in pairs.values()], budget), strict=True))
        return [refused[i] if i in refused else self._scored(r, pairs[i], found[i]) for i, r in enumerate(requests)]

    def _fit_pairs(self, request: Request) -> Fitted[tuple[list[int], list[list[int]]]]:
        fitted = fit(
            request,
            self._options.overlong,
            encode=self._pairs,
            excess=lambda pair: len(pair[0]) - self._max_length,
            length=lambda pair: len(pair[0]),
        )
        longest = max(map(len, fitted.encoded[1]))
        if longest > self._max_length:
            raise PromptError(ErrorCode.OVERLONG, f"a continuation of {longest} tokens does not fit into a context of {self._max_length}.")
        return fitted

    def _pairs(self, request: Request) -> tuple[list[int], list[list[int]]]:
        """Context and continuations, each encoded on its own (lm_eval 0.4.13 api/model.py, _encode_pair of seq2seq models).

        A tokenizer with a vocabulary of its own for the target (Marian) encodes continuations with that one.
        """
        prompter, tokenizer = self._prompter, self._loaded.tokenizer
        context, is_chat = prompter.text(request), prompter.is_chat(request)
        stripped = context.rstrip()
        space = context[len(stripped) :] if stripped else ""
        texts = [space + prompter.delimiter(request) + c for c in request.continuations]
        for text in texts:
            prompter.encode(text, is_chat=is_chat, special=False)  # refuses what is no Unicode
        tails = [list(tokenizer(text_target=t, add_special_tokens=False)["input_ids"]) for t in texts]
        head = prompter.encode(stripped, is_chat=is_chat) if stripped else [prompter.prefix_id]
        if not tails or not all(tails):
            where = next((repr(t[:40]) for t, ids in zip(texts, tails, strict=True) if not ids), "the list of continuations")
            raise PromptError(ErrorCode.EMPTY, f"there is nothing to score: {where} has no tokens.")
        return head, tails

    def _scored(self, request: Request, fitted: Fitted[tuple[list[int], list[list[int]]]], found: list[ContinuationScore]) -> Prediction:
        if not all(math.isfinite(x) for one in found for x in one.logprobs):
            return nonfinite(request)
        context = fitted.encoded[0]
        output = Likelihoods(
            logprobs=tuple(one.logprob for one in found),
            is_greedy=tuple(one.is_greedy for one in found),
            num_tokens=tuple(len(one.logprobs) for one in found),
            token_logprobs=tuple(one.logprobs for one in found) if request.keep_tokens else None,
        )
        num_kept = min(len(context), self._max_length)
        return scored(request, output, num_prompt_tokens=num_kept, num_truncated=fitted.num_dropped + len(context) - num_kept)


def _start_id(loaded: pytorch_load.Loaded, checkpoint: Checkpoint) -> int:
    model = loaded.model
    start = _known(*(getattr(c, "decoder_start_token_id", None) for c in (model.generation_config, model.config)))
    if start is None:
        raise CheckpointError(
            f"checkpoint '{checkpoint.uri}': neither config.json nor generation_config.json has a decoder_start_token_id, the token that an "
            "answer begins with. Add the one it was trained with."
        )
    return int(start)


def _known(*values: int | None) -> int | None:
    return next((v for v in values if v is not None), None)


def _refuse(requests: list[Request], budget: int) -> list[Prediction]:
    return [Prediction.failed(r, ErrorCode.REFUSED, f"an encoder-decoder cannot answer '{r.kind}' requests.") for r in requests]


def _max_length(loaded: pytorch_load.Loaded, wanted: int | None) -> int:
    """Tokens of encoder and decoder: what is wanted, or what configuration or tokenizer say.

    Raises:
        ConfigError: when more is wanted than the model has positions for. T5 and its like have none: positions are relative.
    """
    config = loaded.model.config
    positions = getattr(config, "max_position_embeddings", None)
    if wanted is not None and positions is not None and wanted > positions:
        raise ConfigError(
            f"engine.max_length: {wanted} is more than the {positions} positions of the checkpoint. Lower it, or leave it out."
        )
    length = loaded.tokenizer.model_max_length
    told = _known(wanted, positions, getattr(config, "n_positions", None), int(length) if length < 10**9 else None)
    return _DEFAULT_MAX_LENGTH if told is None else told
