"""What the vLLM engines have in common: options, a live vLLM with its log, a lock where shards run alone."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

from raybench.core.engine_config import VllmConfig, engine_config
from raybench.core.protocols import Answers, EngineSpec
from raybench.core.types import Prediction, Request
from raybench.engines.vllm_start import place_of, start


class VllmBase(ABC):
    """A model in vLLM. Thread-safe: the requests of several shards run together."""

    concurrency: int = 2
    slots: int = 0
    """Sequences that vLLM works on at once (max_num_seqs)."""
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
        self._feed, self._logs = start(self._place, spec.checkpoint, options)
        if not options.deterministic:
            self.slots = self._feed.call(lambda engine: engine.vllm_config.scheduler_config.max_num_seqs)
        self._numerics = self.numerics()
        self._one_at_a_time = threading.Lock()

    @property
    def max_length(self) -> int:
        """Context in tokens."""
        return self._place.max_length

    def run(self, requests: Sequence[Request]) -> list[Prediction]:
        """Answer one shard, together with what other threads ask meanwhile; in deterministic mode alone."""
        if not self._options.deterministic:
            return Answers(self._answers(requests), numerics=self._numerics)
        with self._one_at_a_time:
            self._feed.call(lambda engine: engine.reset_prefix_cache())
            return Answers(self._answers(requests), numerics=self._numerics)

    @abstractmethod
    def _answers(self, requests: Sequence[Request]) -> list[Prediction]:
        """Answer one shard."""

    def progress(self) -> int:
        """Answers of the engine's process so far."""
        return self._feed.num_steps

    def numerics(self) -> dict[str, str]:
        """What decides the last digits, as the workers have it: attention backends, number format, batch-invariant kernels, threads."""
        return dict(self._feed.call(lambda engine: engine.collective_rpc("raybench_numerics"))[0])

    def close(self) -> None:
        """End vLLM's processes."""
        self._feed.close()
        self._logs.close()
