"""The PyTorch engine for encoder-decoders of transformers (T5, BART, Marian ...): what they write, and how likely they would write it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from raybench.core.checkpoint import Checkpoint
from raybench.core.errors import CheckpointError
from raybench.core.outputs import Generation
from raybench.core.protocols import EngineSpec
from raybench.core.types import ErrorCode, FinishReason, Kind, Prediction, Request, Sampling
from raybench.engines import pytorch_load, seq2seq_likelihood
from raybench.engines.answer import AnswerReader, cut
from raybench.engines.context import check_wanted, tokenizer_length
from raybench.engines.families import Family
from raybench.engines.fit import FittedPairs, PromptError, fit_pairs, fit_prompt
from raybench.engines.items import Item, Score
from raybench.engines.memory import free
from raybench.engines.predictions import Answer, answer_by_kind, failed, nonfinite
from raybench.engines.prompting import Prompter
from raybench.engines.pytorch_base import TransformersEngine
from raybench.engines.sampling import seed_of
from raybench.engines.scoring import answer_choices
from raybench.engines.seq2seq_generate import Writer, Writing

_DEFAULT_MAX_LENGTH = 512  # the inputs that T5 was trained with


class PytorchSeq2seqEngine(TransformersEngine):
    """An encoder-decoder: `max_length` tokens for the encoder to read, and as many for the decoder to write."""

    def __init__(self, spec: EngineSpec, family: Family) -> None:
        """Load the checkpoint of `spec`.

        Raises:
            CheckpointError: when it cannot be loaded, or does not say how an answer begins.
            ConfigError: when the options are wrong or the device is not there.
        """
        super().__init__(spec)
        self.kinds = frozenset(family.kinds)
        loaded = pytorch_load.load(spec.checkpoint, self._options, auto=family.auto)
        self._start_id = _start_id(loaded, spec.checkpoint)
        self._writer = Writer(loaded.model, decode=lambda tokens: self._reader.decode(tokens, skip=False))
        self._take(loaded, spec.checkpoint)
        self._watch(self._loaded.model, self._loaded.model)

    @property
    def _device(self) -> Any:
        return self._loaded.model.device

    def _answers(self, requests: Sequence[Request], budget: int) -> list[Prediction]:
        score = partial(seq2seq_likelihood.score, self._loaded.model, start_id=self._start_id, pad_id=self._pad_id, budget=budget)
        answers: dict[Kind, Answer] = {
            Kind.GENERATE: lambda mine: self._generate(mine, score, budget),
            Kind.LOGLIKELIHOOD: lambda mine: answer_choices(mine, self._fit_pairs, score),
        }
        return answer_by_kind(requests, answers, who="an encoder-decoder")

    def close(self) -> None:
        """Free the model's memory."""
        model = weakref.ref(self._loaded.model)
        del self._loaded, self._prompter, self._writer, self._reader
        free(model)

    def _take(self, loaded: pytorch_load.Loaded, checkpoint: Checkpoint) -> None:
        self._loaded = loaded
        self._max_length = _max_length(loaded, self._options.max_length)
        self._prompter = Prompter(loaded.tokenizer, checkpoint)
        self._reader = AnswerReader(loaded.tokenizer, checkpoint.think_end)
        self._writer.eos = loaded.eos
        pad = _known(loaded.tokenizer.pad_token_id, getattr(loaded.model.config, "pad_token_id", None))
        self._pad_id = 0 if pad is None else pad

    def _generate(self, requests: list[Request], score: Callable[[Sequence[Item]], list[list[Score]]], budget: int) -> list[Prediction]:
        refused: dict[int, PromptError] = {}
        rows: dict[int, tuple[Writing, int]] = {}
        for i, request in enumerate(requests):
            sampling = request.sampling or Sampling()
            try:
                ids, num_truncated = self._fit(request, sampling)
            except PromptError as error:
                refused[i] = error
                continue
            rows[i] = Writing(ids=ids, sampling=sampling, seed=seed_of(request)), num_truncated
        self._writer.run([row for row, _ in rows.values()], budget=budget)
        kept = self._token_logprobs({i: row for i, (row, _) in rows.items() if requests[i].keep_tokens and row.answers}, score)
        return [
            failed(request, refused[i]) if i in refused else self._written(request, *rows[i], kept.get(i))
            for i, request in enumerate(requests)
        ]  # fmt: skip

    def _fit(self, request: Request, sampling: Sampling) -> tuple[list[int], int]:
        """Tokens for the encoder, and how many were cut."""
        if request.turns:
            raise PromptError(ErrorCode.REFUSED, "an encoder-decoder reads one text and writes one answer: it takes no further turns.")
        if sampling.max_tokens > self._max_length:
            message = (
                f"max_tokens {sampling.max_tokens} is more than the {self._max_length} tokens that the decoder writes. Lower max_tokens."
            )
            raise PromptError(ErrorCode.OVERLONG, message)
        return fit_prompt(request, self._options.overlong, room=self._max_length, encode=self._prompter.prompt)

    def _written(self, request: Request, row: Writing, num_truncated: int, logprobs: tuple[float, ...] | None) -> Prediction:
        if not row.answers:
            return nonfinite(request)
        stops = row.sampling.stop
        texts = [self._reader.read(tokens, stops, is_stopped=True) for tokens in row.answers]
        reasoning, text = texts[0]
        whole = self._reader.decode(row.answers[0], skip=False)
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

    def _token_logprobs(
        self, rows: dict[int, Writing], score: Callable[[Sequence[Item]], list[list[Score]]]
    ) -> dict[int, tuple[float, ...]]:
        """Of each token of the first hypothesis, with its end token: read once more, under the model itself."""
        end = next(iter(sorted(self._loaded.eos)), None)
        written = {i: [*row.answers[0], *([end] if row.is_ended and end is not None else [])] for i, row in rows.items()}
        full = [i for i, tokens in written.items() if tokens]
        scores = score([Item(context=rows[i].ids, continuations=[written[i]]) for i in full])
        return dict.fromkeys(rows, ()) | {i: one.logprobs for i, (one,) in zip(full, scores, strict=True)}

    def _fit_pairs(self, request: Request) -> FittedPairs:
        return fit_pairs(request, self._options.overlong, encode=self._pairs, max_length=self._max_length, is_apart=True)

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


def _max_length(loaded: pytorch_load.Loaded, wanted: int | None) -> int:
    """Tokens of encoder and decoder: what is wanted, or what configuration or tokenizer say.

    Raises:
        ConfigError: when more is wanted than the model has positions for. T5 and its like have none: positions are relative.
    """
    config = loaded.model.config
    known = getattr(config, "max_position_embeddings", None)
    check_wanted(wanted, known)
    told = _known(wanted, known, getattr(config, "n_positions", None), tokenizer_length(loaded.tokenizer))
    return _DEFAULT_MAX_LENGTH if told is None else told
