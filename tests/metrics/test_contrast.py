"""InfoNCE of vectors against PyTorch's cross entropy."""

from __future__ import annotations

import pytest

from raybench.core.errors import DataError
from raybench.core.outputs import Embedding
from raybench.core.protocols import Scored
from raybench.core.types import FinishReason, Prediction, Sample
from raybench.metrics.contrast import INFO_NCE
from tests.metrics.heads import value_of

Vector = tuple[float, ...]


def scored(*vectors: Vector, label: int | None = 0) -> Scored:
    rows = [Prediction(sample_id="s", finish_reason=FinishReason.SCORED, output=Embedding(vector=v)) for v in vectors]
    sample = Sample(id="s", fields={}, choices=("",) * (len(vectors) - 1), label=label)
    return Scored(sample=sample, predictions=rows, extracted=[None] * len(rows))


@pytest.mark.parametrize(
    "vectors",
    [
        pytest.param([(0.3, 0.4), (0.1, 0.9), (-0.5, 0.2), (2.0, 1.0)], id="mixed"),
        pytest.param([(3.0, 4.0), (3.0, 4.0), (3.0, 4.0)], id="identical"),
        pytest.param([(1.0, 0.0), (0.0, 2.0), (1.0, 0.0)], id="the counterpart has nothing in common"),
        pytest.param([(0.0, 0.0), (0.0, 1.0), (1.0, 0.0)], id="an empty vector is like none"),
    ],
)
def test_the_loss_is_the_cross_entropy_of_cosines(vectors: list[Vector]) -> None:
    import torch

    first, *others = torch.tensor(vectors, dtype=torch.float64)
    cosines = torch.cosine_similarity(first, torch.stack(others), dim=-1)
    # van den Oord et al. 2018, equation 4, with the temperature of Gao et al. 2021 (SimCSE), 0.05
    expected = torch.nn.functional.cross_entropy(cosines / 0.05, torch.tensor(0)).item()

    assert value_of(INFO_NCE, [scored(*vectors)]) == pytest.approx(expected, abs=1e-12)


def test_no_text_has_no_value_and_no_counterpart_is_an_error() -> None:
    assert value_of(INFO_NCE, []) is None
    with pytest.raises(DataError, match="info_nce needs to know which choice is the counterpart"):
        INFO_NCE.score(scored((1.0,), (1.0,), label=None))
