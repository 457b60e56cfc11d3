"""An independent program's opinion about a checkpoint: transformers, on the CPU, in float32."""

from __future__ import annotations

from collections.abc import Sequence

from raybench.core.checkpoint import Checkpoint
from raybench.core.engine_config import PytorchConfig
from raybench.engines import pytorch_load

_KEPT_BYTES = 4 << 30
"""A model of more bytes is loaded anew each time: beside an engine, memory belongs to the engine."""


class Reference:
    """Log-probabilities of texts under one checkpoint after the other; a small model stays in memory and takes the next one's weights in."""

    def __init__(self, threads: int) -> None:
        """With the threads of the engine."""
        self._options = PytorchConfig(dtype="float32", device="cpu", threads=threads)
        self._kept: pytorch_load.Loaded | None = None

    def __call__(self, checkpoint: Checkpoint, texts: Sequence[Sequence[int]]) -> list[float]:
        """Log-probability of each token of `texts` but the first of each, in their order.

        Raises:
            CheckpointError: when the checkpoint is broken.
        """
        import torch

        torch.set_num_threads(self._options.threads)
        loaded = None if self._kept is None else pytorch_load.swap(self._kept, checkpoint)
        if loaded is None:
            self._kept = None  # before the next one needs room
            loaded = pytorch_load.load(checkpoint, self._options)
        if sum(p.nbytes for p in loaded.model.parameters()) <= _KEPT_BYTES:
            self._kept = loaded
        longest = max(map(len, texts))
        tokens_NL = torch.zeros(len(texts), longest, dtype=torch.long)
        mask_NL = torch.zeros_like(tokens_NL)
        for row, text in enumerate(texts):
            tokens_NL[row, : len(text)] = torch.tensor(text)
            mask_NL[row, : len(text)] = 1
        with torch.inference_mode():
            logits_NLV = loaded.model(input_ids=tokens_NL, attention_mask=mask_NL, use_cache=False).logits.float()
            logprobs_NL = logits_NLV[:, :-1].log_softmax(-1).gather(-1, tokens_NL[:, 1:, None])[..., 0]
        return [value for row, text in zip(logprobs_NL.tolist(), texts, strict=True) for value in row[: len(text) - 1]]
