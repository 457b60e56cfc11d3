"""Whether a model can be asked in a form: request kinds of its architecture, label names, options that its engine would have to ignore."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from raybench.core.checkpoint import Checkpoint
from raybench.core.engine_config import EngineConfig
from raybench.core.errors import ConfigError
from raybench.core.types import Kind, Sampling
from raybench.driver.models import architectures
from raybench.engines.families import family_of
from raybench.engines.labels import check_labels, head_labels
from raybench.engines.loading import read_config
from raybench.engines.registry import serves

HEADS = frozenset({Kind.CLASSIFY, Kind.TAG, Kind.SPAN, Kind.FILL, Kind.EMBED})
"""Kinds that read plain text: no examples, no chat template, nothing generated."""

_BEAMS = ("length_penalty", "early_stopping", "num_return_sequences")


def served_by(engine_kind: str, checkpoint: Checkpoint) -> tuple[Kind, ...]:
    """The request kinds that an engine serves for a checkpoint.

    Raises:
        ConfigError: when the engine is unknown, or a plain module is given to one that runs none.
    """
    if checkpoint.module is None:
        return serves(engine_kind, architectures(checkpoint))
    if engine_kind not in ("pytorch", "fake"):
        raise ConfigError(f"models: {checkpoint.uri}: a plain module runs on engine pytorch, engine.kind is '{engine_kind}'.")
    return checkpoint.module.kinds


def check_fit(engine: EngineConfig, checkpoint: Checkpoint, kind: Kind, sampling: Sampling | None, *, where: str) -> None:
    """Refuse what the engine could only ignore.

    Raises:
        ConfigError: names the option.
    """
    if kind in HEADS:
        if engine.overlong == "fewer_shots":
            raise ConfigError(
                f"{where}: engine.overlong is fewer_shots, but a '{kind}' request has no examples. Set error or truncate_right."
            )
        if kind is Kind.FILL and engine.overlong != "error":
            raise ConfigError(
                f"{where}: engine.overlong is {engine.overlong}, but the text of a 'fill' request is scored whole. Set error."
            )
        if checkpoint.chat_template is not None or checkpoint.think_end is not None:
            raise ConfigError(f"{where}: a '{kind}' request is plain text; leave chat_template and think_end out for this model.")
    elif engine.overlong == "truncate_right":
        raise ConfigError(f"{where}: engine.overlong: truncate_right would cut the question off a '{kind}' prompt. Set truncate_left.")
    if sampling is not None:
        _check_sampling(engine, checkpoint, sampling, where)


def _check_sampling(engine: EngineConfig, checkpoint: Checkpoint, sampling: Sampling, where: str) -> None:
    plain = Sampling()
    names = [n for n in ("num_beams", "no_repeat_ngram_size", *_BEAMS) if getattr(sampling, n) != getattr(plain, n)]
    if not names:
        return
    family = family_of(architectures(checkpoint))
    if engine.kind != "pytorch" or family is None or family.name != "seq2seq":
        raise ConfigError(f"{where}: sampling.{names[0]} is for encoder-decoders on engine pytorch. Leave it out for this model.")
    alone = [n for n in names if n in _BEAMS]
    if alone and sampling.num_beams == 1:
        raise ConfigError(f"{where}: sampling.{alone[0]} is for beam search, and num_beams is 1. Set num_beams.")
    if sampling.num_return_sequences > sampling.num_beams:
        raise ConfigError(
            f"{where}: sampling.num_return_sequences {sampling.num_return_sequences} is more than num_beams {sampling.num_beams}. Lower it."
        )


def check_masks(engine: EngineConfig, kind: Kind, metrics: Sequence[str], *, where: str) -> None:
    """Refuse metrics of a `fill` form that its way of masking makes into something else.

    Raises:
        ConfigError: when mlm_loss lacks its masks, or another metric would get them.
    """
    if kind is not Kind.FILL:
        return
    share = getattr(engine, "mask_share", None)
    for metric in metrics:
        if metric == "mlm_loss" and share is None:
            raise ConfigError(
                f"{where}: mlm_loss masks many tokens at once. Set engine.mask_share (0.15 as in BERT), with engine.kind pytorch."
            )
        if metric in ("acc", "pseudo_perplexity") and share is not None:
            raise ConfigError(f"{where}: {metric} masks one token at a time, engine.mask_share is {share:g}. Leave it out for this task.")


def check_head(engine_kind: str, checkpoint: Checkpoint, kind: Kind, labels: tuple[str, ...], *, where: str) -> None:
    """Compare a task's label names with those of the checkpoint, where its files are here to be read.

    Raises:
        ConfigError: when they do not fit.
    """
    if kind not in (Kind.CLASSIFY, Kind.TAG) or engine_kind not in ("pytorch", "vllm"):
        return
    if checkpoint.module is not None:
        head = checkpoint.module.labels or ("value",)
    elif checkpoint.path is not None and Path(checkpoint.path).is_dir():
        head = head_labels(read_config(Path(checkpoint.path)))
    else:
        return
    check_labels(kind, head, labels, checkpoint.label_map, where=where)
