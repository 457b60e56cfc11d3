"""The vLLM engine for decoders: continuous batching over the shards in flight, likelihoods through the prefix cache, checkpoints swapped where that is proved right."""

from __future__ import annotations

import math
from collections.abc import Sequence

from raybench.core.checkpoint import Checkpoint
from raybench.core.protocols import EngineSpec
from raybench.core.types import FinishReason, Prediction, Request
from raybench.engines.answer import AnswerReader
from raybench.engines.decoder import DECODER_KINDS, Decoder
from raybench.engines.fit import PromptError
from raybench.engines.items import Item
from raybench.engines.prompting import Prompter
from raybench.engines.rows import Row
from raybench.engines.vllm_base import VllmBase
from raybench.engines.vllm_generate import VllmGenerator
from raybench.engines.vllm_score import score, score_stepwise
from raybench.engines.vllm_start import place_like
from raybench.engines.vllm_swap import Swapper


class VllmEngine(VllmBase):
    """A decoder in vLLM."""

    kinds = DECODER_KINDS

    def __init__(self, spec: EngineSpec) -> None:
        """Start vLLM with the checkpoint of `spec`; see `VllmBase`."""
        super().__init__(spec)
        self._read_with(spec.checkpoint)
        self._swapper = Swapper(self._feed, self._options)
        # a generation would not show it: NaN has a most probable token too
        probe = score([Item(context=[self._prompter.prefix_id], continuations=[[self._prompter.prefix_id]])], self._feed.ask)[0]
        self._is_damaged = not isinstance(probe, PromptError) and not math.isfinite(probe[0].logprob)

    @property
    def swap_refused(self) -> str | None:
        """Why the last swap did not count."""
        return self._swapper.refused

    def _answers(self, requests: Sequence[Request]) -> list[Prediction]:
        way = score if self._checkpoint.adapter is None else score_stepwise
        decoder = Decoder(
            prompter=self._prompter,
            reader=self._reader,
            max_length=self.max_length,
            overlong=self._options.overlong,
            complete=self._complete,
            score=lambda items: way(items, self._feed.ask),
        )
        return decoder.answer(requests)

    def _complete(self, rows: Sequence[Row]) -> None:
        if self._is_damaged:
            for row in rows:
                row.finish = FinishReason.ERROR
            return
        VllmGenerator(self._feed.ask, self._reader, self._place.eos).run(rows)

    def load(self, checkpoint: Checkpoint) -> bool:
        """Swap other weights into the live engine, where configuration and tokenizer are the same and the swap is proved right."""
        if self._options.swap == "always-restart" or self._checkpoint.adapter is not None or checkpoint.adapter is not None:
            return False
        place = place_like(self._place, checkpoint)
        if place is None:
            return False
        if not self._swapper.swap(self._place, self._checkpoint, place, checkpoint):
            return False
        self._place, self._checkpoint = place, checkpoint
        self._read_with(checkpoint)
        return True

    def _read_with(self, checkpoint: Checkpoint) -> None:
        self._prompter = Prompter(self._place.tokenizer, checkpoint)
        self._reader = AnswerReader(self._place.tokenizer, checkpoint.think_end)
