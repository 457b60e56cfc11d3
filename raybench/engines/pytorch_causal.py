"""The PyTorch engine: any decoder of transformers, exact in the sense that a shard's rows depend on the checkpoint and the shard alone."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from raybench.core.checkpoint import Checkpoint
from raybench.core.protocols import EngineSpec
from raybench.core.types import Prediction, Request
from raybench.engines import pytorch_load
from raybench.engines.answer import AnswerReader
from raybench.engines.context import decoder_length
from raybench.engines.decoder import DECODER_KINDS, Decoder
from raybench.engines.generate import Generator
from raybench.engines.likelihood import Scorer
from raybench.engines.memory import free
from raybench.engines.prompting import Prompter
from raybench.engines.pytorch_base import TransformersEngine


class PytorchCausalEngine(TransformersEngine):
    """A decoder of transformers."""

    kinds = DECODER_KINDS

    def __init__(self, spec: EngineSpec) -> None:
        """Load the checkpoint of `spec`.

        Raises:
            CheckpointError: when it cannot be loaded.
            ConfigError: when the options are wrong or the device is not there.
        """
        super().__init__(spec)
        self._take(pytorch_load.load(spec.checkpoint, self._options), spec.checkpoint)
        self._max_length = decoder_length(self._loaded.model.config, self._loaded.tokenizer, self._options.max_length)
        self._scorer = Scorer(self._loaded.model, batch_tokens=self._options.batch_tokens)
        self._watch(self._loaded.model, self._loaded.model)

    @property
    def has_chat_template(self) -> bool:
        """Whether the tokenizer of the checkpoint carries a chat template."""
        return bool(self._loaded.tokenizer.chat_template)

    @property
    def _device(self) -> Any:
        return self._loaded.model.device

    @property
    def _notices(self) -> list[str]:
        return [n for n in (self._scorer.notice, self._generator.notice) if n is not None]

    def _answers(self, requests: Sequence[Request], budget: int) -> list[Prediction]:
        self._scorer.batch_tokens = self._generator.batch_tokens = budget
        decoder = Decoder(
            prompter=self._prompter,
            reader=self._reader,
            max_length=self._max_length,
            overlong=self._options.overlong,
            complete=self._generator.run,
            score=self._scorer.score,
            score_windows=self._scorer.score_apart,
        )
        return decoder.answer(requests)

    def close(self) -> None:
        """Free the model's memory."""
        model = weakref.ref(self._loaded.model)
        del self._loaded, self._scorer, self._generator, self._prompter
        free(model)

    def _take(self, loaded: pytorch_load.Loaded, checkpoint: Checkpoint) -> None:
        self._loaded = loaded
        self._prompter = Prompter(loaded.tokenizer, checkpoint)
        self._reader = AnswerReader(loaded.tokenizer, checkpoint.think_end)
        self._generator = Generator(loaded.model, self._reader, eos=loaded.eos, batch_tokens=self._options.batch_tokens)
