"""Other weights in a live vLLM, and the proof that it computes with them: reloading is fast and was seen to leave old weights in use.

A swap counts only if

1. each weight that the worker computes with, packed copies included, changed exactly where the checkpoint's files differ, and
2. the log-probabilities of a probe lie where an independent program (transformers on the CPU, in float32) says the new checkpoint has them,
   not where the previous one has them, by a margin that the engine's own noise calibrates.

With v the engine's probe, p and n the reference's for the previous and the new checkpoint, the engine's place between them is
t = <v - p, n - p> / <n - p, n - p>: 0 for the previous weights, 1 for the new ones, in between where only some came in. The noise of one
token's log-probability, s, is measured on the fresh engine; t then has the standard deviation s / |n - p|.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from raybench.core.checkpoint import Checkpoint
from raybench.core.engine_config import VllmConfig
from raybench.core.errors import CheckpointError
from raybench.engines import loading
from raybench.engines.vllm_feed import Feed, Question
from raybench.engines.vllm_reference import Reference
from raybench.engines.vllm_start import Place
from raybench.engines.vllm_worker import file_names

SIGMAS = 8.0
"""How many standard deviations of its noise an engine may stand off the new checkpoint, and must be able to stand off the previous one."""
_LEAST_MARGIN = 0.05
_NOISE_FACTOR = 4.0  # the new checkpoint's own noise may be larger than that of the one it was measured on
_NOISE_FLOOR = 1e-4
_PROBE = (
    "The river rose twice that spring, and by the second flood the mill had closed its lower doors for good.\n",
    "def mean(values):\n    total = 0.0\n    for value in values:\n        total += value\n    return total / len(values)\n",
    "Question: A train leaves at 9:40 and arrives at 12:05. How long is the journey?\nAnswer: 2 hours and 25 minutes.\n",
    "In 1969 two people walked on the Moon; the third stayed in orbit, out of radio contact for part of every turn.\n",
    "Water boils at a lower temperature on a high mountain because the air presses on it less than at sea level.\n",
    '{"name": "probe", "values": [3, 1, 4, 1, 5, 9, 2, 6], "is_last": true}\n',
)
_PROBE_TOKENS = 48
_NUM_COLUMNS = 16  # of each tensor that are read back from packed copies


class Swapper:
    """Remembers what the live engine holds and how exact it is."""

    def __init__(self, feed: Feed, config: VllmConfig) -> None:
        self._feed = feed
        self._ask_reference = Reference(config.threads)
        self._noise: list[float] | None = None  # of the fresh engine, by token
        self._reference: list[float] | None = None  # of the checkpoint in the engine
        self.refused: str | None = None
        """Why the last swap did not count."""

    def swap(self, old_place: Place, old: Checkpoint, new_place: Place, new: Checkpoint) -> bool:
        """Load `new` over `old`; False where that fails or is not proved: then nothing may be asked of the engine any more.

        Raises:
            CheckpointError: when the new checkpoint is broken; the engine is unchanged.
            EngineDead: when the engine died of it.
        """
        if old.identity and old.identity == new.identity:
            return True  # the same weights, asked in another way
        self.refused = self._swap(old_place, old, new_place, new)
        return self.refused is None

    def _swap(self, old_place: Place, old: Checkpoint, new_place: Place, new: Checkpoint) -> str | None:
        """Why the swap does not count; None: it does."""
        files = [loading.weight_files(p.folder, allow_pickle=c.allow_pickle) for p, c in ((old_place, old), (new_place, new))]
        if any(f.suffix != ".safetensors" for of_one in files for f in of_one):
            return "pickled weights cannot be compared"
        if not _fits_in_memory(files[1]):
            return "the reference does not fit into this machine's memory"
        probe = _probe(new_place)
        if self._reference is None or self._noise is None:
            self._reference = self._ask_reference(old, probe)
            self._noise = [v - r for v, r in zip(self._measure(probe), self._reference, strict=True)]
        new_reference = self._ask_reference(new, probe)
        reason = tell_apart(self._noise, self._reference, new_reference)
        if reason is not None:
            return reason
        different = differences(*files)
        if different is None:
            return "the files hold other tensors than those of the previous checkpoint"
        before, merged = self._digests(different), self._feed.call(lambda engine: engine.collective_rpc("raybench_merged_names")[0])
        reason = self._reload(new_place.folder)
        if reason is not None:
            return reason
        reason = compare_weights(before, self._digests(different), different, merged)
        if reason is None:
            reason = judge(self._noise, self._measure(probe), self._reference, new_reference)
        if reason is None:
            self._reference = new_reference
        return reason

    def _digests(self, different: Mapping[str, Sequence[int]]) -> list[dict[str, str]]:
        return list(self._feed.call(lambda engine: engine.collective_rpc("raybench_digests", args=(dict(different),))))

    def _reload(self, folder: Path) -> str | None:
        def reload(engine: Any) -> None:
            engine.collective_rpc("reload_weights", kwargs={"weights_path": str(folder)})
            engine.collective_rpc("raybench_repack")
            if not engine.reset_prefix_cache():
                raise RuntimeError("the prefix cache could not be emptied")

        try:
            self._feed.call(reload)
        except RuntimeError as error:
            if isinstance(error, CheckpointError):
                raise
            return f"vLLM could not reload: {' '.join(str(error).split())[:300]}"
        return None

    def _measure(self, probe: Sequence[Sequence[int]]) -> list[float]:
        """Log-probability of each token of the probe but the first of each text, from the engine."""
        from vllm import SamplingParams

        params = SamplingParams(temperature=0.0, max_tokens=1, detokenize=False, prompt_logprobs=0, skip_reading_prefix_cache=True)
        answers = self._feed.ask([Question(tokens=list(tokens), params=params) for tokens in probe])
        return [a.prompt_logprobs[i][t].logprob for a, tokens in zip(answers, probe, strict=True) for i, t in enumerate(tokens) if i]


def tell_apart(noise: Sequence[float], old: Sequence[float], new: Sequence[float]) -> str | None:
    """Why an engine with this noise cannot be told to hold the one checkpoint or the other; None: it can."""
    distance = math.dist(old, new)
    deviation = _rms(noise) / distance if distance else math.inf
    if SIGMAS * deviation > 0.5:
        return f"the checkpoints differ by {distance / math.sqrt(len(old)):.2g} nats a token on the probe, too little for an engine with noise {_rms(noise):.2g}"
    return None


def judge(noise: Sequence[float], now: Sequence[float], old: Sequence[float], new: Sequence[float]) -> str | None:
    """Why the engine does not hold the new checkpoint; None: it does.

    Args:
        noise: Engine minus reference when the engine was fresh, by token, in nats.
        now: The engine's log-probabilities after the swap.
        old: The reference's of the previous checkpoint.
        new: The reference's of the new one.
    """
    if not all(map(math.isfinite, now)):
        return "the probe gives numbers that are not finite"
    span = math.dist(old, new) ** 2
    at = sum((v - p) * (n - p) for v, p, n in zip(now, old, new, strict=True)) / span
    margin = max(SIGMAS * _rms(noise) / math.sqrt(span), _LEAST_MARGIN)
    if abs(at - 1) > margin:
        return f"the probe stands at {at:.3f} between the previous checkpoint (0) and the new one (1 +- {margin:.3f})"
    off, allowed = _rms([v - n for v, n in zip(now, new, strict=True)]), _NOISE_FACTOR * _rms(noise) + _NOISE_FLOOR
    if off > allowed:
        return f"the probe is {off:.2g} nats a token off the new checkpoint, a fresh engine {_rms(noise):.2g}"
    return None


def compare_weights(
    before: Sequence[Mapping[str, str]],
    after: Sequence[Mapping[str, str]],
    different: Mapping[str, Sequence[int]],
    merged: Mapping[str, Sequence[str]],
) -> str | None:
    """Why the weights in the workers are not those of the new files; None: they are, as far as names tell.

    Args:
        before: Of each worker, weight to digest before the reload.
        after: The same after it.
        different: See `differences`.
        merged: Name of a merged layer to the names of its parts in files.
    """
    changed_here = {n for b, a in zip(before, after, strict=True) for n in a if a[n] != b.get(n)}
    num_known = 0
    for name in sorted({n for a in after for n in a}):
        parts = [p for p in file_names(name.removesuffix("@packed"), merged) if p in different]
        if not parts:
            continue
        num_known += 1
        should = any(different[p] for p in parts)
        if should != (name in changed_here):
            return f"the weight {name} {'is still the old one' if should else 'changed although its files are equal'}"
    return None if num_known else "no weight of the engine has a name of the checkpoint's files"


def differences(old: Sequence[Path], new: Sequence[Path]) -> dict[str, list[int]] | None:
    """Tensor to some of the columns (indices of the last dimension) in which two checkpoints differ, none where they are equal.

    Args:
        old: Safetensors files of the one.
        new: Of the other.

    Returns:
        None when they do not hold tensors of the same names and shapes.
    """
    import torch
    from safetensors import safe_open

    found: dict[str, list[int]] = {}
    with ExitStack() as stack:
        left, right = (
            {name: file for path in paths for file in (stack.enter_context(safe_open(path, "pt")),) for name in file.keys()}  # noqa: SIM118
            for paths in (old, new)
        )
        if set(left) != set(right):
            return None
        for name, file in left.items():
            a, b = file.get_tensor(name), right[name].get_tensor(name)
            if a.shape != b.shape:
                return None
            is_other = (a != b).reshape(-1, a.shape[-1] if a.ndim else 1).any(0)
            found[name] = torch.nonzero(is_other)[:_NUM_COLUMNS, 0].tolist()
    return found


def _probe(place: Place) -> list[list[int]]:
    length = min(_PROBE_TOKENS, place.max_length)
    return [place.tokenizer.encode(text, add_special_tokens=False)[:length] for text in _PROBE]


def _fits_in_memory(files: Sequence[Path]) -> bool:
    """Whether the weights in float32, at worst twice their size in files, take less than half of what is free."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    return 2 * sum(f.stat().st_size for f in files) < free / 2


def _rms(values: Sequence[float]) -> float:
    return math.sqrt(math.fsum(v * v for v in values) / len(values))
