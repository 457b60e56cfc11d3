"""The PyTorch engine for a plain module: a model written from scratch, with a tokenizer of transformers.

What the module must have, and nothing else:

    forward(input_ids, attention_mask) -> logits, or an object with `.logits`
        input_ids, attention_mask   int64 [B, L], padded on the right; the mask is 1 at tokens and 0 at padding
        logits                      generate, loglikelihood, rolling   [B, L, V]: at each position, of the token behind it
                                    fill                               [B, L, V]: at each position, of the token that stands there
                                    classify                           [B, labels], or [B, 1] for a regression
                                    tag                                [B, L, labels]
                                    embed                              [B, D], or [B, L, D], which is pooled as engine.pooling says

    max_length (optional)           most tokens of a row; otherwise engine.max_length, or what the tokenizer says
    decode(input_ids, attention_mask) -> B sequences of L label numbers (optional, for `tag`)
                                    the labels themselves, for a model whose best labels are not the highest logits (a CRF)

A row's output must not depend on padding or on the other rows of its batch.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raybench.core.checkpoint import Checkpoint
from raybench.core.errors import CheckpointError, ConfigError
from raybench.core.protocols import EngineSpec
from raybench.core.types import Kind, Prediction, Request
from raybench.engines.answer import AnswerReader
from raybench.engines.classify import classify
from raybench.engines.context import check_wanted, tokenizer_length
from raybench.engines.decoder import DECODER_KINDS, Decoder
from raybench.engines.embed import embed
from raybench.engines.fill import fill
from raybench.engines.memory import free
from raybench.engines.module_load import load_module, take_state
from raybench.engines.module_text import NextToken
from raybench.engines.net import Net, TokenRow
from raybench.engines.predictions import answer_by_kind
from raybench.engines.prompting import Prompter
from raybench.engines.pytorch_base import PytorchEngine
from raybench.engines.pytorch_load import load_tokenizer, quiet, tokenizer_folder_of
from raybench.engines.reading import Encoder, Reader
from raybench.engines.rows import Stepper
from raybench.engines.tag import tag


class PytorchModuleEngine(PytorchEngine):
    """A plain PyTorch module."""

    def __init__(self, spec: EngineSpec) -> None:
        """Make the module of `spec` and load its weights.

        Raises:
            CheckpointError: when it cannot be made, or the weights are not the module's.
            ConfigError: when the options are wrong, the device is not there, or nobody says how long a row may be.
        """
        super().__init__(spec)
        module = spec.checkpoint.module
        assert module is not None, "a checkpoint without a factory is not for this engine"
        self.kinds = frozenset(module.kinds)
        self._checkpoint = spec.checkpoint
        self._description = module
        quiet()
        self._module = load_module(spec.checkpoint, self._options)
        folder = tokenizer_folder_of(spec.checkpoint, Path(spec.checkpoint.path or ".").parent)
        self._tokenizer = load_tokenizer(folder, spec.checkpoint)
        self._max_length = _max_length(self._module, self._tokenizer, self._options.max_length)
        pad, eos = self._tokenizer.pad_token_id, self._tokenizer.eos_token_id
        self._eos = frozenset({eos} - {None})
        self._pad_id = int(pad if pad is not None else eos if eos is not None else 0)
        if self.kinds <= DECODER_KINDS:
            self._prompter = Prompter(self._tokenizer, spec.checkpoint)
            self._reader = AnswerReader(self._tokenizer, spec.checkpoint.think_end)
        elif Kind.FILL in self.kinds and self._tokenizer.mask_token_id is None:
            raise CheckpointError(f"{folder}: the tokenizer has no mask token, which a masked language model is asked with. Set one.")
        self._count_steps(self._module)

    @property
    def _device(self) -> Any:
        return next(self._module.parameters()).device

    def _answers(self, requests: Sequence[Request], budget: int) -> list[Prediction]:
        who = f"the module, which was made for {', '.join(sorted(self.kinds))},"
        if self.kinds <= DECODER_KINDS:
            return self._decoder(budget, who).answer(requests)
        encoder = self._encoder(budget)
        own = getattr(self._module, "decode", None)
        decode = None if own is None else lambda rows: _decoded(encoder.net, rows, own)
        how = {
            Kind.CLASSIFY: lambda mine: classify(encoder, mine),
            Kind.FILL: lambda mine: fill(encoder, mine, mask_share=self._options.mask_share),
            Kind.TAG: lambda mine: tag(encoder, mine, decode),
            Kind.EMBED: lambda mine: embed(encoder, mine, pooling=self._options.pooling, normalize=self._options.normalize),
        }
        return answer_by_kind(requests, {kind: answer for kind, answer in how.items() if kind in self.kinds}, who=who)

    def _decoder(self, budget: int, who: str) -> Decoder:
        model = NextToken(self._forward, device=self._device, pad_id=self._pad_id, vocabulary=len(self._tokenizer), budget=budget)
        return Decoder(
            kinds=self.kinds,
            prompter=self._prompter,
            reader=self._reader,
            max_length=self._max_length,
            overlong=self._options.overlong,
            complete=lambda rows: model.write(rows, Stepper(self._reader, self._eos)),
            score=model.score,
            who=who,
        )

    def _encoder(self, budget: int) -> Encoder:
        net = Net(
            lambda inputs: self._forward(inputs["input_ids"], inputs["attention_mask"]),
            device=self._device,
            batch_tokens=budget,
            pad_id=self._pad_id,
        )
        reader = Reader(self._tokenizer, max_length=self._max_length, overlong=self._options.overlong)
        labels = self._description.labels or ("value",)  # a regression has one value without a name
        return Encoder(
            reader=reader, net=net, labels=labels, label_map=self._checkpoint.label_map, where=f"checkpoint '{self._checkpoint.uri}'"
        )

    def _forward(self, input_ids: Any, attention_mask: Any) -> Any:
        output = self._module(input_ids, attention_mask)
        return getattr(output, "logits", output)

    def load(self, checkpoint: Checkpoint) -> bool:
        """Copy the weights of another state file into the live module where factory, arguments and tokenizer are the same."""
        if checkpoint.module != self._description or checkpoint.tokenizer != self._checkpoint.tokenizer:
            return False
        take_state(self._module, checkpoint)
        self._checkpoint = checkpoint
        return True

    def close(self) -> None:
        """Free the module's memory."""
        model = weakref.ref(self._module)
        del self._module
        free(model)


def _decoded(net: Net, rows: Sequence[TokenRow], own: Any) -> list[list[int]]:
    """Label numbers of each token by the module's own `decode`."""

    def decode(inputs: dict[str, Any]) -> list[list[int]]:
        found = own(inputs["input_ids"], inputs["attention_mask"])
        return [[int(n) for n in labels] for labels in found]

    return [labels[: len(row.ids)] for labels, row in zip(net.each(rows, decode), rows, strict=True)]


def _max_length(module: Any, tokenizer: Any, wanted: int | None) -> int:
    own = getattr(module, "max_length", None)
    own = own if isinstance(own, int) else None
    check_wanted(wanted, own, what="the module's own max_length {}")
    told = wanted or own or tokenizer_length(tokenizer)
    if told is None:
        raise ConfigError(
            "engine.max_length: nobody says how many tokens the module reads at once. Set it, or give the module an attribute max_length."
        )
    return told
