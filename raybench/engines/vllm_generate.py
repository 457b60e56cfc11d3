"""Answers from vLLM: rows of a shard all at once, turn after turn; the prefix cache gives repeats and later turns what is computed already."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from raybench.core.errors import ConfigError
from raybench.core.types import FinishReason, Sampling
from raybench.engines.answer import AnswerReader
from raybench.engines.rows import Row
from raybench.engines.vllm_feed import Question, refused

_SEED_BITS = 63


class VllmGenerator:
    """Completes rows, as the PyTorch engine's generator does."""

    def __init__(self, ask: Callable[[Sequence[Question]], list[Any]], reader: AnswerReader, eos: frozenset[int]) -> None:
        """Take what answers.

        Args:
            ask: Hands requests to vLLM.
            reader: Makes answers of tokens.
            eos: Tokens that end an answer.
        """
        self._ask = ask
        self._reader = reader
        self._eos = eos

    def run(self, rows: Sequence[Row]) -> None:
        """Complete the rows, with all their turns.

        Raises:
            ConfigError: for sampling that vLLM does not have.
        """
        for row in rows:
            check_sampling(row.sampling)
        live = list(rows)
        while live:
            answers = self._ask([Question(tokens=row.prompt, params=self._params(row)) for row in live])
            for row, answer in zip(live, answers, strict=True):
                if isinstance(answer, ValueError):
                    row.finish, row.error = FinishReason.ERROR, refused(answer)
                else:
                    self._take(row, answer.outputs[0])
            live = [row for row in live if row.turn()]

    def _take(self, row: Row, output: Any) -> None:
        tokens = list(output.token_ids)
        row.num_turn = len(tokens)
        row.num_new += len(tokens)
        row.new = tokens[:-1] if tokens and tokens[-1] in self._eos else tokens
        row.finish = FinishReason.STOP if output.finish_reason == "stop" else FinishReason.LENGTH
        if row.keep_tokens:
            logprobs = [output.logprobs[i][t].logprob for i, t in enumerate(tokens)]
            row.logprobs += logprobs
            if not all(map(math.isfinite, logprobs)):
                row.finish = FinishReason.ERROR

    def _params(self, row: Row) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        sampling = row.sampling
        # stop strings count behind the reasoning only: where it may come, they are looked for in the end
        stops = [] if self._reader.think_end else [s for s in sampling.stop if s]
        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k or 0,
            min_p=sampling.min_p,
            repetition_penalty=sampling.repetition_penalty,
            max_tokens=sampling.max_tokens,
            seed=None if row.draw is None else row.draw.getrandbits(_SEED_BITS),
            stop=stops,
            detokenize=bool(stops),
            skip_special_tokens=False,  # a stop string may be a special token
            ignore_eos=True,  # the end tokens are ours: those of the checkpoint's files, as in the PyTorch engine
            stop_token_ids=sorted(self._eos),
            logprobs=0 if row.keep_tokens else None,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )


def check_sampling(sampling: Sampling) -> None:
    """Refuse what vLLM cannot do.

    Raises:
        ConfigError: for beam search, forbidden n-grams, and temperatures above 2.
    """
    neutral = Sampling()
    for name in ("num_beams", "num_return_sequences", "no_repeat_ngram_size"):
        if getattr(sampling, name) != getattr(neutral, name):
            raise ConfigError(f"sampling.{name}: the vllm engine cannot do that for a decoder. Leave it out, or use the pytorch engine.")
    if sampling.temperature > 2:
        raise ConfigError(f"sampling.temperature: vLLM takes 0 to 2, found {sampling.temperature:g}.")
