"""The PyTorch engine for encoders: checkpoints of transformers with a head for labels, tags, spans or masked words, or none at all."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal

from raybench.core.checkpoint import Checkpoint
from raybench.core.engine_config import PytorchConfig, engine_config
from raybench.core.errors import CheckpointError, ConfigError
from raybench.core.protocols import EngineSpec
from raybench.core.types import ErrorCode, Kind, Prediction, Request
from raybench.engines import pytorch_load
from raybench.engines.classify import classify
from raybench.engines.embed import embed
from raybench.engines.families import Family
from raybench.engines.fill import fill
from raybench.engines.labels import head_labels
from raybench.engines.memory import answer_within, free
from raybench.engines.net import Net
from raybench.engines.reading import Encoder, Reader
from raybench.engines.span import SpanOptions, span
from raybench.engines.tag import tag

_DEFAULT_MAX_LENGTH = 512  # of the pretraining of nearly all encoders; where neither the model nor its tokenizer says
_PREFIX_SPACE = (
    "GPT2TokenizerFast",
    "RobertaTokenizerFast",
    "DebertaTokenizerFast",
    "GPT2Tokenizer",
    "RobertaTokenizer",
    "DebertaTokenizer",
)


class PytorchEncoderEngine:
    """An encoder, or a decoder with an encoder's head, in this process. One shard at a time."""

    concurrency: int = 1
    reproducible: Literal["exact", "measured"] = "exact"

    def __init__(self, spec: EngineSpec, family: Family) -> None:
        """Load the checkpoint of `spec` with the head of its architecture.

        Raises:
            CheckpointError: when it cannot be loaded, or weights of the head are missing.
            ConfigError: when the options are wrong or the device is not there.
        """
        import torch

        options = engine_config({**spec.options, "kind": "pytorch"})
        assert isinstance(options, PytorchConfig), "the engine table maps pytorch to PytorchConfig"
        self.kinds = frozenset(family.kinds)
        self._options = options
        self._family = family
        self._num_steps = 0
        torch.set_num_threads(options.threads)
        self._take(pytorch_load.load(spec.checkpoint, options, auto=family.auto, may_lack=family.may_lack), spec.checkpoint)
        # the encoder itself runs under every head, and alone for an embedding
        self._loaded.model.base_model.register_forward_pre_hook(self._count_step)

    @property
    def max_length(self) -> int:
        """Tokens of a row, special ones included."""
        return self._max_length

    def run(self, requests: Sequence[Request]) -> list[Prediction]:
        """Answer one shard; batches are formed inside it, and inside a request kind."""
        import torch

        torch.set_num_threads(self._options.threads)  # another engine in this process may have changed it
        return answer_within(self._options.batch_tokens, lambda budget: self._answers(requests, budget), self._loaded.model.device)

    def _answers(self, requests: Sequence[Request], budget: int) -> list[Prediction]:
        found: dict[int, Prediction] = {}
        for kind in dict.fromkeys(r.kind for r in requests):
            at = [i for i, r in enumerate(requests) if r.kind is kind]
            answer = self._by_kind(kind) if kind in self.kinds else _refuse
            found |= zip(at, answer([requests[i] for i in at], budget), strict=True)
        return [found[i] for i in range(len(requests))]

    def _by_kind(self, kind: Kind) -> Callable[[list[Request], int], list[Prediction]]:
        options, model = self._options, self._loaded.model
        match kind:
            case Kind.CLASSIFY:
                return lambda requests, budget: classify(self._encoder(lambda i: model(**i).logits, budget), requests)
            case Kind.TAG:
                return lambda requests, budget: tag(self._encoder(lambda i: _two_sided(model(**i).logits), budget), requests)
            case Kind.SPAN:
                how = SpanOptions(doc_stride=options.doc_stride, max_answer_tokens=options.max_answer_tokens, n_best=options.n_best)
                return lambda requests, budget: span(self._encoder(_start_and_stop(model), budget), requests, how)
            case Kind.FILL:
                head = model.get_output_embeddings()
                return lambda requests, budget: fill(self._encoder(lambda i: model(**i).logits, budget, head=head), requests)
            case _:
                # under a head the encoder itself: the head's own attributes stay unused
                body = model.base_model
                return lambda requests, budget: embed(
                    self._encoder(lambda i: body(**i).last_hidden_state, budget),
                    requests,
                    pooling=options.pooling,
                    normalize=options.normalize,
                )

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

    def load(self, checkpoint: Checkpoint) -> bool:
        """Swap other weights into the live module where configuration and tokenizer are the same; False otherwise."""
        swapped = pytorch_load.swap(self._loaded, checkpoint)
        if swapped is None:
            return False
        self._take(swapped, checkpoint)
        return True

    def progress(self) -> int:
        """Forward passes so far."""
        return self._num_steps

    def _count_step(self, *_: object) -> None:
        self._num_steps += 1

    def close(self) -> None:
        """Free the model's memory."""
        del self._loaded, self._reader
        free()

    def _take(self, loaded: pytorch_load.Loaded, checkpoint: Checkpoint) -> None:
        config, tokenizer = loaded.model.config, loaded.tokenizer
        self._loaded = loaded
        self._where = f"checkpoint '{checkpoint.uri}'"
        self._label_map = checkpoint.label_map
        self._labels = head_labels({"id2label": config.id2label, "num_labels": config.num_labels})
        self._max_length = _max_length(loaded, self._options.max_length)
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


def _refuse(requests: list[Request], budget: int) -> list[Prediction]:
    return [
        Prediction.failed(r, ErrorCode.REFUSED, f"the checkpoint's architecture has no head for '{r.kind}' requests.") for r in requests
    ]


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


def _max_length(loaded: pytorch_load.Loaded, wanted: int | None) -> int:
    """Tokens of a row: what is wanted, or what positions and tokenizer allow.

    Raises:
        ConfigError: when more is wanted than the model has positions for.
    """
    config = loaded.model.config.get_text_config()
    known = (getattr(config, name, None) for name in ("n_positions", "max_position_embeddings", "n_ctx"))
    positions = next((int(n) for n in known if n is not None and int(n) > 0), None)  # XLNet says -1: no limit
    table = next((m for name, m in loaded.model.named_modules() if name.endswith("embeddings.position_embeddings")), None)
    if table is not None and getattr(table, "padding_idx", None) is not None:
        positions = table.num_embeddings - table.padding_idx - 1  # RoBERTa counts from behind the padding token's number
    if wanted is not None and positions is not None and wanted > positions:
        raise ConfigError(
            f"engine.max_length: {wanted} is more than the {positions} positions of the checkpoint. Lower it, or leave it out."
        )
    length = loaded.tokenizer.model_max_length
    limits = [n for n in (wanted, positions, int(length) if length < 10**9 else None) if n is not None]
    return min(limits, default=_DEFAULT_MAX_LENGTH)
