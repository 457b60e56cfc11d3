"""What an answer decided: a class or a number, whichever way the sample was asked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from raybench.core.errors import ConfigError, DataError, InternalError
from raybench.core.outputs import Classification
from raybench.core.protocols import Scored
from raybench.metrics.choice import asked, head_scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The class that is right, and what the model gave to each."""

    truth: int
    """Index of the right class."""
    scores: tuple[float, ...]
    """One a class: logits of a head, summed log-probabilities of options."""

    @property
    def answer(self) -> int:
        """Index of the class with the highest score, the first of equal ones."""
        return self.scores.index(max(self.scores))

    @property
    def probabilities(self) -> tuple[float, ...]:
        """Softmax of the scores: the probability of each class, where the classes are all there is."""
        highest = max(self.scores)
        if highest == -math.inf:  # no option is possible: none is likelier than another
            return (1 / len(self.scores),) * len(self.scores)
        weights = [math.exp(score - highest) for score in self.scores]
        return tuple(weight / math.fsum(weights) for weight in weights)


def scores_of(scored: Scored) -> tuple[float, ...]:
    """The scores of a head, or the summed log-probabilities of the options."""
    is_head = isinstance(scored.predictions[0].output, Classification)
    return head_scores(scored)[0] if is_head else asked(scored)[0].logprobs


def decide(scored: Scored) -> Decision:
    """The class of a sample: a head's by its logits, a choice's by the summed log-probabilities.

    Raises:
        DataError: when the sample has no label, or one that is no class: a hidden label would otherwise count as a wrong answer.
        ConfigError: when the answer is a regression.
    """
    sample, scores = scored.sample, scores_of(scored)
    if len(scores) < 2:
        raise ConfigError(
            f"sample '{sample.id}': the metric compares classes, and the answer is one number. Use pearson or spearman for a regression."
        )
    if sample.label is None or not 0 <= sample.label < len(scores):
        raise DataError(
            f"sample '{sample.id}': its label is {sample.label}, expected 0 to {len(scores) - 1}. "
            "Evaluate a split whose labels are known, or leave the sample out."
        )
    return Decision(truth=sample.label, scores=scores)


def numbers(scored: Scored) -> tuple[float, float]:
    """The right number and the answered one: a regression head's value, or the most likely option read as a number.

    Raises:
        DataError: when the first target is no finite number, or the options are none.
        ConfigError: when a head with several labels answered.
    """
    sample, output = scored.sample, scored.predictions[0].output
    if not sample.targets:
        raise DataError(f"sample '{sample.id}': it has no target; pearson and spearman compare numbers. Give it its number as target.")
    truth = _number(sample.id, "target", sample.targets[0])
    if isinstance(output, Classification):
        if len(output.logits) != 1:
            raise ConfigError(
                f"sample '{sample.id}': the head has {len(output.logits)} labels; pearson and spearman need a regression, with one value."
            )
        return truth, output.logits[0]
    found = scores_of(scored)
    if len(found) != len(sample.choices):
        raise InternalError(f"sample '{sample.id}': {len(found)} options were scored, it has {len(sample.choices)}.")
    return truth, _number(sample.id, "option", sample.choices[found.index(max(found))])


def _number(sample_id: str, what: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"sample '{sample_id}': the {what} {text[:40]!r} is no finite number; pearson and spearman compare numbers.")
    return value
