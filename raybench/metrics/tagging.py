"""The share of words whose tag is right: accuracy of parts of speech, and of a discriminator that looks for replaced tokens (ELECTRA)."""

from __future__ import annotations

from raybench.core.errors import ConfigError, DataError
from raybench.core.outputs import Tags
from raybench.core.protocols import Scored
from raybench.metrics.ratio import Ratio


def _right(scored: Scored) -> tuple[float, float]:
    """Right words and words, means over the repeats of a sample."""
    sample, predictions = scored.sample, scored.predictions
    num_right = 0
    for prediction in predictions:
        if not isinstance(prediction.output, Tags):
            raise ConfigError(f"sample '{sample.id}': tag_acc compares tags. Ask the task as `tag`.")
        labels = prediction.output.labels
        if len(labels) != len(sample.targets):
            raise DataError(f"sample '{sample.id}': {len(sample.targets)} true tags for {len(labels)} words. Expected one a word.")
        num_right += sum(a == b for a, b in zip(labels, sample.targets, strict=True))
    return num_right / len(predictions), float(len(sample.targets))


TAG_ACC = Ratio(
    name="tag_acc",
    parts_of=_right,
    stats=("right", "words"),
    signature="per:word",
    wrong=lambda sample: (0.0, float(len(sample.targets))),
)
