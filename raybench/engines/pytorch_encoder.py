"""The PyTorch engine for encoders: checkpoints of transformers with a head for labels, tags, spans or masked words, or none at all."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from raybench.core.checkpoint import Checkpoint
from raybench.core.errors import CheckpointError
from raybench.core.protocols import EngineSpec
from raybench.core.types import Kind, Prediction, Request
from raybench.engines import pytorch_load
from raybench.engines.classify import classify
from raybench.engines.context import encoder_length
from raybench.engines.embed import embed
from raybench.engines.families import Family
from raybench.engines.fill import fill
from raybench.engines.labels import head_labels
from raybench.engines.memory import free
from raybench.engines.net import Net
from raybench.engines.predictions import Answer, answer_by_kind
from raybench.engines.pytorch_base import TransformersEngine
from raybench.engines.reading import Encoder, Reader
from raybench.engines.span import SpanOptions, span
from raybench.engines.tag import tag

_PREFIX_SPACE = (
    "GPT2TokenizerFast",
    "RobertaTokenizerFast",
    "DebertaTokenizerFast",
    "GPT2Tokenizer",
    "RobertaTokenizer",
    "DebertaTokenizer",
)


class PytorchEncoderEngine(TransformersEngine):
    """An encoder, or a decoder with an encoder's head."""

    def __init__(self, spec: EngineSpec, family: Family) -> None:
        """Load the checkpoint of `spec` with the head of its architecture.

        Raises:
            CheckpointError: when it cannot be loaded, or weights of the head are missing.
            ConfigError: when the options are wrong or the device is not there.
        """
        super().__init__(spec)
        self.kinds = frozenset(family.kinds)
        self._take(pytorch_load.load(spec.checkpoint, self._options, auto=family.auto, may_lack=family.may_lack), spec.checkpoint)
        self._watch(self._loaded.model, self._loaded.model.base_model)  # which runs under every head, and alone for an embedding

    @property
    def _device(self) -> Any:
        return self._loaded.model.device

    def _answers(self, requests: Sequence[Request], budget: int) -> list[Prediction]:
        answers = {kind: self._by_kind(kind, budget) for kind in self.kinds}
        return answer_by_kind(requests, answers, who="the head of this checkpoint")

    def _by_kind(self, kind: Kind, budget: int) -> Answer:
        options, model = self._options, self._loaded.model
        match kind:
            case Kind.CLASSIFY:
                forward = _one_choice if type(model).__name__.endswith("ForMultipleChoice") else _logits
                return partial(classify, self._encoder(partial(forward, model), budget))
            case Kind.TAG:
                return partial(tag, self._encoder(lambda i: _two_sided(model(**i).logits), budget))
            case Kind.SPAN:
                how = SpanOptions(doc_stride=options.doc_stride, max_answer_tokens=options.max_answer_tokens, n_best=options.n_best)
                return partial(span, self._encoder(_start_and_stop(model), budget), options=how)
            case Kind.FILL:
                encoder = self._encoder(lambda i: model(**i).logits, budget, head=model.get_output_embeddings())
                return partial(fill, encoder, mask_share=options.mask_share)
            case _:
                # under a head the encoder itself: the head's own attributes stay unused
                encoder = self._encoder(lambda i: model.base_model(**i).last_hidden_state, budget)
                return partial(embed, encoder, pooling=options.pooling, normalize=options.normalize)

    def _encoder(self, forward: Callable[[dict[str, Any]], Any], budget: int, head: Any = None) -> Encoder:
        tokenizer = self._reader.tokenizer
        net = Net(
            lambda inputs: forward({**inputs, **self._extra}),
            device=self._loaded.model.device,
            batch_tokens=budget,
            pad_id=self._pad_id,
            pad_type=tokenizer.pad_token_type_id,
            pads_left=self._reader.pads_left,
            head=head,
        )
        return Encoder(reader=self._reader, net=net, labels=self._labels, label_map=self._label_map, where=self._where)

    def close(self) -> None:
        """Free the model's memory."""
        model = weakref.ref(self._loaded.model)
        del self._loaded, self._reader
        free(model)

    def _take(self, loaded: pytorch_load.Loaded, checkpoint: Checkpoint) -> None:
        config, tokenizer = loaded.model.config, loaded.tokenizer
        self._loaded = loaded
        self._where = f"checkpoint '{checkpoint.uri}'"
        self._label_map = checkpoint.label_map
        named = {"id2label": config.id2label, "num_labels": config.num_labels, "architectures": [type(loaded.model).__name__]}
        self._labels = head_labels(named)
        self._max_length = encoder_length(config, tokenizer, self._options.max_length, known=_positions(loaded.model))
        self._pad_id = _pad_id(loaded, self.kinds)
        # XLNet's summary reads the last position, and was trained with padding in front; all others number positions from the left
        pads_left = config.model_type == "xlnet"
        if Kind.TAG in self.kinds and type(tokenizer).__name__ in _PREFIX_SPACE:
            # words are given apart: each begins with a space
            tokenizer = type(tokenizer).from_pretrained(tokenizer.name_or_path, add_prefix_space=True, local_files_only=True)
        if Kind.FILL in self.kinds and tokenizer.mask_token_id is None:
            raise CheckpointError(f"{self._where}: its tokenizer has no mask token, which a masked language model is asked with. Set one.")
        self._reader = Reader(tokenizer, max_length=self._max_length, overlong=self._options.overlong, pads_left=pads_left)
        # a decoder under a head would keep keys and values that nobody asks for
        takes_cache = "use_cache" in inspect.signature(loaded.model.forward).parameters
        self._extra = {"use_cache": False} if takes_cache else {}


def _logits(model: Any, inputs: dict[str, Any]) -> Any:
    return model(**inputs).logits


def _one_choice(model: Any, inputs: dict[str, Any]) -> Any:
    """[B, 1]: a multiple-choice head takes [B, choices, L], and scores every choice on its own."""
    return model(**{name: value[:, None] if hasattr(value, "dim") else value for name, value in inputs.items()}).logits


def _start_and_stop(model: Any) -> Callable[[dict[str, Any]], Any]:
    import torch

    def forward(inputs: dict[str, Any]) -> Any:
        output = model(**inputs)
        return torch.stack([output.start_logits, output.end_logits], dim=-1)

    return forward


def _two_sided(logits: Any) -> Any:
    """[B, L, labels]; a discriminator's single logit [B, L] stands for the second of two labels, the first has 0."""
    import torch

    return logits if logits.dim() == 3 else torch.stack([torch.zeros_like(logits), logits], dim=-1)


def _pad_id(loaded: pytorch_load.Loaded, kinds: frozenset[Kind]) -> int:
    """The token that fills rows up: the tokenizer's, the model's, or where neither has one, the end token.

    The heads of decoders find the last token by looking for the first that is no padding, so they are told which one it is.
    """
    config = loaded.model.config.get_text_config()
    known = (loaded.tokenizer.pad_token_id, getattr(config, "pad_token_id", None), loaded.tokenizer.eos_token_id)
    pad = next((int(n) for n in known if n is not None), 0)
    if Kind.CLASSIFY in kinds and getattr(config, "pad_token_id", None) != pad:
        config.pad_token_id = pad
    return pad


def _positions(model: Any) -> int | None:
    """Positions of a model that counts them from behind the padding token's number, as RoBERTa does; None: as the configuration says."""
    table = next((m for name, m in model.named_modules() if name.endswith("embeddings.position_embeddings")), None)
    padding = getattr(table, "padding_idx", None)
    return None if table is None or padding is None else int(table.num_embeddings - padding - 1)
