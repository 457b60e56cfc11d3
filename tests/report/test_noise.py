"""The noise floor in words."""

from __future__ import annotations

import pytest

from raybench.core.recheck import Recheck, RecheckedSample
from raybench.report.noise import noise_line, wilson

FOUND = Recheck(
    model="m", task="arc", form="loglikelihood", reference="pytorch float32 torch-2.13.0", seed=0,
    samples=tuple(RecheckedSample(id=str(i), drift=0.01 * i, is_flipped=i == 3) for i in range(50)),
    drift_median=0.0123, drift_max=0.214, metrics={"acc": (0.62, 0.6), "perplexity": (12.345, None)},
)  # fmt: skip


def test_flips_drift_and_both_values_stand_beside_the_sampling_error() -> None:
    assert noise_line(FOUND, {"acc": "6.9"}) == (
        "arc: noise floor from 50 samples again (pytorch float32): 1 of 50 decisions flipped (95 %: 0.4 to 10.5 %); "
        "log-probabilities, in nats, off by 0.012 in the median, 0.21 at most; "
        "acc 62.0 % there, 60.0 % again (sampling error of the run ± 6.9 %)"
    )


@pytest.mark.parametrize(("count", "total"), [(0, 50), (1, 50), (25, 50), (50, 50), (3, 1000)])
def test_the_interval_of_a_share_is_wilson_s(count: int, total: int) -> None:
    from scipy.stats import binomtest

    expected = binomtest(count, total).proportion_ci(method="wilson")
    assert wilson(count, total) == pytest.approx((expected.low, expected.high), abs=1e-9)
