"""The contrastive loss of vectors: how surely a text is found to be like its counterpart and unlike others.

    info_nce   -log( exp(cos(x, x+) / t) / sum over all choices of exp(cos(x, y) / t) ), mean over samples, in nats; t = 0.05

(van den Oord et al. 2018, Representation Learning with Contrastive Predictive Coding, equation 4, with the cosine and temperature of SimCSE, Gao et
al. 2021, equation 1.) The others are the sample's own choices, not whatever else is in a batch: so the number depends on neither order nor shards.
"""

from __future__ import annotations

import math

import numpy as np

from raybench.core.errors import DataError, InternalError
from raybench.core.outputs import Embedding
from raybench.core.protocols import Scored
from raybench.metrics.mean import Mean

TEMPERATURE = 0.05


def _loss(scored: Scored) -> float:
    sample = scored.sample
    if sample.label is None:
        raise DataError(f"sample '{sample.id}': info_nce needs to know which choice is the counterpart. Give the task a target.")
    vectors = [np.array(p.output.vector, np.float64) for p in scored.predictions if isinstance(p.output, Embedding) and p.repeat == 0]
    if len(vectors) != len(sample.choices) + 1:
        raise InternalError(f"sample '{sample.id}': {len(vectors)} vectors for a text and {len(sample.choices)} choices.")
    logits = [_cosine(vectors[0], other) / TEMPERATURE for other in vectors[1:]]
    highest = max(logits)
    return highest + math.log(math.fsum(math.exp(x - highest) for x in logits)) - logits[sample.label]


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    lengths = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return float((a * b).sum()) / lengths if lengths else 0.0


INFO_NCE = Mean(name="info_nce", score_of=_loss, stats=("nats",), higher_is_better=False, wrong=None, signature="temperature:0.05|cosine")
