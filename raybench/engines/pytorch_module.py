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

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from raybench.core.checkpoint import Checkpoint
from raybench.core.engine_config import PytorchConfig, engine_config
from raybench.core.errors import CheckpointError, ConfigError
from raybench.core.protocols import EngineSpec
from raybench.core.types import ErrorCode, Kind, Prediction, Request
from raybench.engines.answer import AnswerReader
from raybench.engines.classify import classify
from raybench.engines.embed import embed
from raybench.engines.fill import fill
from raybench.engines.memory import answer_within, free
from raybench.engines.module_answers import TextAnswers
from raybench.engines.module_load import load_module, take_state
from raybench.engines.module_text import NextToken
from raybench.engines.net import Net, TokenRow
from raybench.engines.prompting import Prompter
from raybench.engines.pytorch_load import load_tokenizer, quiet, tokenizer_folder_of
from raybench.engines.reading import Encoder, Reader
from raybench.engines.tag import tag

_TEXT = frozenset({Kind.GENERATE, Kind.LOGLIKELIHOOD, Kind.ROLLING})


class PytorchModuleEngine:
    """A plain PyTorch module in this process. One shard at a time."""

    concurrency: int = 1
    reproducible: Literal["exact", "measured"] = "exact"

    def __init__(self, spec: EngineSpec) -> None:
        """Make the module of `spec` and load its weights.

        Raises:
            CheckpointError: when it cannot be made, or the weights are not the module's.
            ConfigError: when the options are wrong, the device is not there, or nobody says how long a row may be.
        """
        import torch

        options = engine_config({**spec.options, "kind": "pytorch"})
        assert isinstance(options, PytorchConfig), "the engine table maps pytorch to PytorchConfig"
        module = spec.checkpoint.module
        assert module is not None, "a checkpoint without a factory is not for this engine"
        self.kinds = frozenset(module.kinds)
        self._options = options
        self._checkpoint = spec.checkpoint
        self._description = module
        self._num_steps = 0
        torch.set_num_threads(options.threads)
        quiet()
        self._module = load_module(spec.checkpoint, options)
        self._device = next(self._module.parameters()).device
        folder = tokenizer_folder_of(spec.checkpoint, Path(spec.checkpoint.path or ".").parent)
        self._tokenizer = load_tokenizer(folder, spec.checkpoint)
        self._max_length = _max_length(self._module, self._tokenizer, options.max_length)
        pad, eos = self._tokenizer.pad_token_id, self._tokenizer.eos_token_id
        self._pad_id = int(pad if pad is not None else eos if eos is not None else 0)
        if self.kinds <= _TEXT:
            self._text = TextAnswers(
                Prompter(self._tokenizer, spec.checkpoint),
                AnswerReader(self._tokenizer, spec.checkpoint.think_end),
                eos=frozenset({eos} - {None}),
                max_length=self._max_length,
                overlong=options.overlong,
            )
        elif Kind.FILL in self.kinds and self._tokenizer.mask_token_id is None:
            raise CheckpointError(f"{folder}: the tokenizer has no mask token, which a masked language model is asked with. Set one.")
        self._module.register_forward_pre_hook(self._count_step)

    @property
    def max_length(self) -> int:
        """Tokens that the module reads at once."""
        return self._max_length

    def run(self, requests: Sequence[Request]) -> list[Prediction]:
        """Answer one shard; batches are formed inside it."""
        import torch

        torch.set_num_threads(self._options.threads)  # another engine in this process may have changed it
        return answer_within(self._options.batch_tokens, lambda budget: self._answers(requests, budget), self._device)

    def _answers(self, requests: Sequence[Request], budget: int) -> list[Prediction]:
        found: dict[int, Prediction] = {}
        for kind in dict.fromkeys(r.kind for r in requests):
            at = [i for i, r in enumerate(requests) if r.kind is kind]
            found |= zip(at, self._answer(kind, [requests[i] for i in at], budget), strict=True)
        return [found[i] for i in range(len(requests))]

    def _answer(self, kind: Kind, requests: list[Request], budget: int) -> list[Prediction]:
        if kind not in self.kinds:
            served = ", ".join(sorted(self.kinds))
            return [
                Prediction.failed(r, ErrorCode.REFUSED, f"the module cannot answer '{kind}' requests, only {served}.") for r in requests
            ]
        if kind in _TEXT:
            model = NextToken(self._forward, device=self._device, pad_id=self._pad_id, vocabulary=len(self._tokenizer), budget=budget)
            answer = {
                Kind.GENERATE: self._text.generate,
                Kind.LOGLIKELIHOOD: self._text.loglikelihood,
                Kind.ROLLING: self._text.rolling,
            }
            return answer[kind](model, requests)
        encoder = self._encoder(budget)
        if kind is Kind.CLASSIFY:
            return classify(encoder, requests)
        if kind is Kind.FILL:
            return fill(encoder, requests)
        if kind is Kind.TAG:
            own = getattr(self._module, "decode", None)
            return tag(encoder, requests, None if own is None else lambda rows: _decoded(encoder.net, rows, own))
        return embed(encoder, requests, pooling=self._options.pooling, normalize=self._options.normalize)

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

    def progress(self) -> int:
        """Forward passes so far."""
        return self._num_steps

    def _count_step(self, *_: object) -> None:
        self._num_steps += 1

    def close(self) -> None:
        """Free the module's memory."""
        del self._module
        free()


def _decoded(net: Net, rows: Sequence[TokenRow], own: Any) -> list[list[int]]:
    """Label numbers of each token by the module's own `decode`."""

    def decode(inputs: dict[str, Any]) -> list[list[int]]:
        found = own(inputs["input_ids"], inputs["attention_mask"])
        return [[int(n) for n in labels] for labels in found]

    return [labels[: len(row.ids)] for labels, row in zip(net.each(rows, decode), rows, strict=True)]


def _max_length(module: Any, tokenizer: Any, wanted: int | None) -> int:
    own = getattr(module, "max_length", None)
    if isinstance(own, int):
        if wanted is not None and wanted > own:
            raise ConfigError(f"engine.max_length: {wanted} is more than the module's own max_length {own}. Lower it, or leave it out.")
        return wanted or own
    if wanted is not None:
        return wanted
    if tokenizer.model_max_length < 10**9:
        return int(tokenizer.model_max_length)
    raise ConfigError(
        "engine.max_length: nobody says how many tokens the module reads at once. Set it, or give the module an attribute max_length."
    )
