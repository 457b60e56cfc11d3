"""The vLLM engine for heads: label logits and vectors from vLLM's pooling models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from raybench.core.checkpoint import Checkpoint
from raybench.core.errors import EngineError
from raybench.core.protocols import EngineSpec
from raybench.core.types import Kind, Prediction, Request
from raybench.engines.classify import classify
from raybench.engines.embed import embed
from raybench.engines.labels import head_labels
from raybench.engines.loading import read_config
from raybench.engines.net import TokenRow
from raybench.engines.predictions import Answer, answer_by_kind
from raybench.engines.reading import Head, Reader
from raybench.engines.vllm_base import VllmBase
from raybench.engines.vllm_feed import Question


class VllmPoolingEngine(VllmBase):
    """An encoder, or a decoder with an encoder's head, in vLLM."""

    def __init__(self, spec: EngineSpec) -> None:
        """Start vLLM with the checkpoint of `spec`; see `VllmBase`."""
        super().__init__(spec)
        self.kinds = self._place.kinds
        self._labels = head_labels(read_config(self._place.folder))

    def _answers(self, requests: Sequence[Request]) -> list[Prediction]:
        reader = Reader(self._place.tokenizer, max_length=self.max_length, overlong=self._options.overlong)
        where = f"checkpoint '{self._checkpoint.uri}'"
        answers: dict[Kind, Answer] = {}
        if Kind.CLASSIFY in self.kinds:
            net = Pooler(self._feed.ask, "classify")
            answers[Kind.CLASSIFY] = partial(
                classify, Head(reader=reader, net=net, labels=self._labels, label_map=self._checkpoint.label_map, where=where)
            )
        if Kind.EMBED in self.kinds:
            head = Head(reader=reader, net=Pooler(self._feed.ask, "embed"), labels=(), label_map={}, where=where)
            answers[Kind.EMBED] = partial(embed, head, pooling=self._options.pooling, normalize=self._options.normalize, is_pooled=True)
        return answer_by_kind(requests, answers, who="the head of this checkpoint")

    def load(self, checkpoint: Checkpoint) -> bool:
        """Never: a probe that tells checkpoints apart is for decoders."""
        return False


class Pooler:
    """Gives token rows what vLLM's pooler makes of them, before any activation."""

    def __init__(self, ask: Callable[[Sequence[Question]], list[Any]], task: str) -> None:
        """Take what answers.

        Args:
            ask: Hands requests to vLLM.
            task: classify or embed, in vLLM's words.
        """
        self._ask = ask
        self._task = task

    def per_row(self, rows: Sequence[TokenRow], reduce: Callable[[Any, Any], Any] | None = None) -> list[Any]:
        """[...] float32 for each row: logits, or a pooled vector, or what `reduce` makes of [1, ...] of them.

        Raises:
            EngineError: when vLLM refuses a row that fits into its context.
        """
        found = []
        for answer in self._ask([Question(tokens=row.ids, params=self._params(row)) for row in rows]):
            if isinstance(answer, ValueError):
                raise EngineError(f"vLLM refused a row: {' '.join(str(answer).split())[:300]}")
            values = answer.outputs.data.float()
            found.append(values if reduce is None else reduce(values[None], None)[0])
        return found

    def _params(self, row: TokenRow) -> Any:
        from vllm import PoolingParams

        params = PoolingParams(task=self._task, use_activation=False)
        if row.types is not None and any(row.types):
            # the place of the first 1 (0.32, entrypoints/pooling/scoring/utils.py, compress_token_type_ids)
            params.extra_kwargs = {"compressed_token_type_ids": row.types.index(1)}
        return params
