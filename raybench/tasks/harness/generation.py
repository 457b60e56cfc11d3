"""The harness's generation arguments as sampling of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from raybench.core.errors import ConfigError
from raybench.core.types import Sampling

_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""Names of the token budget; the first one counts (lm_eval models/utils.py, normalize_gen_kwargs)."""
_SAME = {f.name for f in fields(Sampling)} - {"max_tokens", "stop", "temperature"}
"""Arguments of transformers' `generate` that bear the same name here."""


def sampling_of(arguments: Mapping[str, Any], *, where: str) -> Sampling:
    """Sampling that draws as the harness does with these arguments: greedy unless `do_sample` or a temperature says otherwise.

    Raises:
        ConfigError: for an argument that has no counterpart, or sampling without a temperature.
    """
    left = dict(arguments)
    until = left.pop("until", None)
    stop = [until] if isinstance(until, str) else list(until or [])
    lengths = [left.pop(name, None) for name in _LENGTHS]
    temperature = float(left.pop("temperature", None) or 0.0)
    do_sample = left.pop("do_sample", None)
    if do_sample and temperature == 0.0:
        raise ConfigError(f"{where}: its generation arguments say do_sample without a temperature. Set sampling.temperature for this task.")
    unknown = sorted(set(left) - _SAME)
    if unknown:
        raise ConfigError(f"{where}: generation argument '{unknown[0]}' has no counterpart here. Known: {', '.join(sorted(_SAME))}.")
    if left.get("top_k") == 0:
        left["top_k"] = None  # transformers: off
    return Sampling(
        max_tokens=int(next((n for n in lengths if n is not None), 256)),
        stop=tuple(s for s in stop if s),
        temperature=0.0 if do_sample is False else temperature,
        **left,
    )
