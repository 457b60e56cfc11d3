"""How many tokens a model reads at once: what is wanted, held against what the checkpoint's files say."""

from __future__ import annotations

from typing import Any

from raybench.core.errors import ConfigError

_DEFAULT_DECODER = 2048  # lm_eval models/utils.py, where neither the model nor its tokenizer says
_DEFAULT_ENCODER = 512  # of the pretraining of nearly all encoders; where neither the model nor its tokenizer says
_OFFSET = ("roberta", "camembert")  # positions are counted from behind the padding token's number
_HUGE = 10**9  # a tokenizer without a limit says 10^30


def decoder_length(config: Any, tokenizer: Any, wanted: int | None) -> int:
    """Context of a decoder in tokens (lm_eval models/utils.py, resolve_max_length).

    Args:
        config: Of transformers.
        tokenizer: Of the checkpoint.
        wanted: engine.max_length.

    Raises:
        ConfigError: when more is wanted than the model has positions for.
    """
    known = positions(config)
    check_wanted(wanted, known)
    return wanted or known or tokenizer_length(tokenizer) or _DEFAULT_DECODER


def encoder_length(config: Any, tokenizer: Any, wanted: int | None, *, known: int | None = None) -> int:
    """Tokens of a row of an encoder, special ones included: what is wanted, or what positions and tokenizer allow.

    Args:
        config: Of transformers.
        tokenizer: Of the checkpoint.
        wanted: engine.max_length.
        known: Positions, where the model itself could be asked.

    Raises:
        ConfigError: when more is wanted than the model has positions for.
    """
    if known is None:
        known = positions(config)
        if known is not None and any(name in config.model_type for name in _OFFSET):
            known -= config.pad_token_id + 1
    check_wanted(wanted, known)
    limits = [n for n in (wanted, known, tokenizer_length(tokenizer)) if n is not None]
    return min(limits, default=_DEFAULT_ENCODER)


def positions(config: Any) -> int | None:
    """Positions of a model; None where its configuration gives none, or says that there is no limit (XLNet's -1)."""
    text = config.get_text_config()
    known = (getattr(text, name, None) for name in ("n_positions", "max_position_embeddings", "n_ctx"))
    return next((int(n) for n in known if n is not None and int(n) > 0), None)


def tokenizer_length(tokenizer: Any) -> int | None:
    """Most tokens of a text by its tokenizer; None where that says nothing."""
    return int(tokenizer.model_max_length) if tokenizer.model_max_length < _HUGE else None


def check_wanted(wanted: int | None, most: int | None, what: str = "the {} positions of the checkpoint") -> None:
    """Refuse an engine.max_length that the model cannot have.

    Args:
        wanted: engine.max_length.
        most: What the model has; None: nobody knows.
        what: Its name in the message.

    Raises:
        ConfigError: when more is wanted than there is.
    """
    if wanted is not None and most is not None and wanted > most:
        raise ConfigError(f"engine.max_length: {wanted} is more than {what.format(most)}. Lower it, or leave it out.")
