"""The signature: one line that says what a number is a number of, in the manner of sacrebleu (Post 2018)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from raybench.core.fingerprint import digest
from raybench.core.version import VERSION
from raybench.driver.plan import Pair
from raybench.engines.registry import reproducible
from raybench.store.shard_mark import ShardMark

_DTYPES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


def signature(
    pair: Pair,
    *,
    metric: str,
    metric_signature: str,
    extract: str | None,
    num_samples: int,
    counts: Mapping[str, int],
    data_prompt: str,
    numerics: Mapping[str, str],
) -> str:
    """The line `task:gsm8k|v:1|form:generate|...` of one number.

    Args:
        pair: The model and task.
        metric: Its name.
        metric_signature: What the metric says of itself; may be empty.
        extract: Name of the filter; None where there is none.
        num_samples: Samples that were answered.
        counts: `err` and `trunc`.
        data_prompt: Digest of the prompts.
        numerics: What the engines of its shards told of themselves; see `numerics_of`.
    """
    task: Mapping[str, Any] = pair.identity["task"]
    engine: Mapping[str, Any] = pair.identity["engine"]
    versions = str(engine["versions"]).split(" ")[0].partition("-")[2]
    sampling = pair.asking.sampling
    dtype = numerics.get("dtype", engine["dtype"])
    parts: list[tuple[str, Any]] = [
        ("task", pair.task),
        ("v", task["version"]),
        ("form", pair.kind.value),
        ("split", task["split"]),
        ("data", digest(task["data"])[:8]),
        ("prompt", data_prompt[:8]),
        ("shots", task["shots"] if not task["shots"] else f"{task['shots']}-{task['fewshot']}"),
        ("chat", "yes" if pair.identity["chat_template"] else "no"),
        ("n", num_samples),
        ("err", counts["err"]),
        ("trunc", counts["trunc"]),
    ]
    if pair.limit is not None:
        parts += [("limit", pair.limit)]
    parts += [("metric", metric)]
    if extract:
        parts += [("extract", extract)]
    if sampling is not None:
        parts += [("max_tokens", sampling.max_tokens), ("temp", f"{sampling.temperature:g}")]
        parts += [(name, value) for name, value, neutral in _drawn(sampling) if value != neutral]
    if pair.asking.num_repeats > 1:
        parts += [("repeats", pair.asking.num_repeats)]
    parts += [
        ("engine", f"{engine['kind']}{f'-{versions}' if versions else ''}"),
        ("device", engine["device"]),
        ("dtype", _DTYPES.get(dtype, dtype)),
        *((name, numerics[name]) for name in ("attn", "invariant") if name in numerics),
        ("seed", pair.asking.seed),
        ("repro", reproducible(str(engine["kind"]), engine)),
        ("raybench", VERSION),
    ]
    line = "|".join(f"{name}:{_clean(value)}" for name, value in parts)
    line += f"|{metric_signature}" if metric_signature else ""
    return f"{line}|PARTIAL" if pair.limit is not None else line


def numerics_of(marks: Iterable[ShardMark]) -> dict[str, str]:
    """What decided the last digits of a pair's rows; where shards differ, as on mixed machines, all values, joined by +."""
    found: dict[str, set[str]] = {}
    for mark in marks:
        for name, value in mark.numerics.items():
            found.setdefault(name, set()).add(value)
    return {name: "+".join(sorted(values)) for name, values in found.items()}


def _drawn(sampling: Any) -> list[tuple[str, Any, Any]]:
    return [
        ("top_p", sampling.top_p, 1.0),
        ("top_k", sampling.top_k, None),
        ("min_p", sampling.min_p, 0.0),
        ("rep", sampling.repetition_penalty, 1.0),
    ]


def _clean(value: Any) -> str:
    """A value without the signs that separate parts."""
    return str(value).replace("|", "/").replace("\n", " ")
