"""The vLLM engine: continuous batching over the shards in flight, likelihoods through the prefix cache, checkpoints swapped where that is proved right."""

from __future__ import annotations

import math
import shutil
import threading
from collections.abc import Sequence
from typing import Literal

from raybench.core.checkpoint import Checkpoint
from raybench.core.engine_config import VllmConfig, engine_config
from raybench.core.protocols import Answers, EngineSpec
from raybench.core.types import FinishReason, Prediction, Request
from raybench.engines.answer import AnswerReader
from raybench.engines.decoder import DECODER_KINDS, Decoder
from raybench.engines.fit import PromptError
from raybench.engines.items import Item
from raybench.engines.prompting import Prompter
from raybench.engines.rows import Row
from raybench.engines.vllm_generate import VllmGenerator
from raybench.engines.vllm_score import score
from raybench.engines.vllm_start import place_of, start
from raybench.engines.vllm_swap import Swapper


class VllmEngine:
    """A decoder in vLLM. Thread-safe: the requests of several shards run together."""

    kinds = DECODER_KINDS
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
        self._read_with(spec.checkpoint)
        self._feed, self._logs = start(self._place, spec.checkpoint, options)
        self._swapper = Swapper(self._feed, options)
        # a generation would not show it: NaN has a most probable token too
        probe = score([Item(context=[self._prompter.prefix_id], continuations=[[self._prompter.prefix_id]])], self._feed.ask)[0]
        self._is_damaged = not isinstance(probe, PromptError) and not math.isfinite(probe[0].logprob)
        self._numerics = self.numerics()
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
        decoder = Decoder(
            prompter=self._prompter,
            reader=self._reader,
            max_length=self.max_length,
            overlong=self._options.overlong,
            complete=self._complete,
            score=lambda items: score(items, self._feed.ask),
        )
        return Answers(decoder.answer(requests), numerics=self._numerics)

    def _complete(self, rows: Sequence[Row]) -> None:
        if self._is_damaged:
            for row in rows:
                row.finish = FinishReason.ERROR
            return
        VllmGenerator(self._feed.ask, self._reader, self._place.eos).run(rows)

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
        self._read_with(checkpoint)
        return True

    def _read_with(self, checkpoint: Checkpoint) -> None:
        self._prompter = Prompter(self._place.tokenizer, checkpoint)
        self._reader = AnswerReader(self._place.tokenizer, checkpoint.think_end)

    def progress(self) -> int:
        """Answers of the engine's process so far."""
        return self._feed.num_steps

    def numerics(self) -> dict[str, str]:
        """What decides the last digits, as the workers have it: attention backends, number format, batch-invariant kernels, threads."""
        return dict(self._feed.call(lambda engine: engine.collective_rpc("raybench_numerics"))[0])

    def close(self) -> None:
        """End vLLM's processes."""
        self._feed.close()
        shutil.rmtree(self._logs, ignore_errors=True)
