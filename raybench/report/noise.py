"""The noise floor in words: what stands beside a sampling error."""

from __future__ import annotations

import math
from collections.abc import Mapping

from raybench.core.recheck import Recheck
from raybench.report.table import scale_of

_Z95 = 1.959963984540054


def noise_line(recheck: Recheck, errors: Mapping[str, str] | None = None) -> str:
    """One line on a (model, task): decisions that flipped, numbers that drifted, metrics there and again.

    Args:
        recheck: What was found.
        errors: Metric to its sampling error in the whole run, as it is written; None: unknown.
    """
    parts = []
    if recheck.num_decisions:
        low, high = wilson(recheck.num_flipped, recheck.num_decisions)
        share = f"{recheck.num_flipped} of {recheck.num_decisions} decisions flipped"
        parts.append(f"{share} (95 %: {100 * low:.1f} to {100 * high:.1f} %)")
    if recheck.drift_median is not None and recheck.drift_max is not None:
        parts.append(f"{_unit(recheck.form)} off by {recheck.drift_median:.2g} in the median, {recheck.drift_max:.2g} at most")
    for name, (before, again) in recheck.metrics.items():
        if before is not None and again is not None:
            scale = scale_of(name)
            unit = f" {scale.unit}" if scale.unit else ""
            error = (errors or {}).get(name)
            beside = f" (sampling error of the run ± {error}{unit})" if error else ""
            parts.append(f"{name} {scale.write(before)}{unit} there, {scale.write(again)}{unit} again{beside}")
    what = " ".join(recheck.reference.split(" ")[:2])
    return f"{recheck.task}: noise floor from {len(recheck.samples)} samples again ({what}): {'; '.join(parts)}"


def wilson(count: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927, Probable Inference, the Law of Succession, and Statistical Inference)."""
    share, spread = count / total, _Z95**2 / total
    middle = (share + spread / 2) / (1 + spread)
    half = _Z95 / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def _unit(form: str) -> str:
    return {"classify": "logits", "embed": "vectors", "rolling": "log-probabilities of a token, in nats,"}.get(
        form, "log-probabilities, in nats,"
    )
