"""What the PyTorch engines have in common: one process, threads, memory that runs out, a count of forward passes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

from raybench.core.checkpoint import Checkpoint
from raybench.core.engine_config import PytorchConfig, engine_config
from raybench.core.protocols import EngineSpec
from raybench.core.types import Prediction, Request
from raybench.engines import pytorch_load
from raybench.engines.memory import answer_within


class PytorchEngine(ABC):
    """A model in this process. One shard at a time."""

    concurrency: int = 1
    reproducible: Literal["exact", "measured"] = "exact"

    def __init__(self, spec: EngineSpec) -> None:
        """Take the options of `spec`, and its threads.

        Raises:
            ConfigError: when the options are wrong.
        """
        options = engine_config({**spec.options, "kind": "pytorch"})
        assert isinstance(options, PytorchConfig), "the engine table maps pytorch to PytorchConfig"
        self._options = options
        self._max_length = 0
        self._num_steps = 0
        self._numerics: dict[str, str] = {}
        self._set_threads()

    @property
    def max_length(self) -> int:
        """Tokens that the model reads at once, special ones included."""
        return self._max_length

    def run(self, requests: Sequence[Request]) -> list[Prediction]:
        """Answer one shard; batches are formed inside it. When memory runs out, the whole shard is computed again with half the budget."""
        self._set_threads()  # another engine in this process may have changed them
        return answer_within(
            self._options.batch_tokens, lambda budget: self._answers(requests, budget), self._device, self._notices, self._numerics
        )

    def progress(self) -> int:
        """Forward passes so far."""
        return self._num_steps

    @property
    @abstractmethod
    def _device(self) -> Any:
        """Where the model is."""

    @abstractmethod
    def _answers(self, requests: Sequence[Request], budget: int) -> list[Prediction]:
        """Answer with at most `budget` tokens in a forward pass."""

    @property
    def _notices(self) -> Sequence[str]:
        """What the user should hear."""
        return ()

    def _watch(self, model: Any, module: Any) -> None:
        """Remember what a model of transformers computes with, and let every forward pass of `module` count as progress."""
        kernel = getattr(model.config, "_attn_implementation", None)
        self._numerics = {"attn": str(kernel)} if kernel else {}
        self._count_steps(module)

    def _count_steps(self, module: Any) -> None:
        module.register_forward_pre_hook(self._count_step)

    def _count_step(self, *_: object) -> None:
        self._num_steps += 1

    def _set_threads(self) -> None:
        import torch

        torch.set_num_threads(self._options.threads)


class TransformersEngine(PytorchEngine):
    """A model that transformers loads."""

    _loaded: pytorch_load.Loaded

    def load(self, checkpoint: Checkpoint) -> bool:
        """Swap other weights into the live module where configuration and tokenizer are the same; False otherwise."""
        swapped = pytorch_load.swap(self._loaded, checkpoint)
        if swapped is None:
            return False
        self._take(swapped, checkpoint)
        return True

    @abstractmethod
    def _take(self, loaded: pytorch_load.Loaded, checkpoint: Checkpoint) -> None:
        """Hold what was loaded, and make anew what depends on it."""
