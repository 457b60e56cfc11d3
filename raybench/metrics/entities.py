"""Precision, recall and F1 of the entities that BIO tags mark: an entity counts when its type, first and last word are right.

As seqeval 1.2.2 in its default mode, which is that of conlleval.pl (CoNLL-2000): an `I-` tag that continues nothing begins an entity, so that IOB1,
IOB2 and IOBES tags can be read alike. All entities of all samples count together (micro average); where nothing was to be found, or nothing was
found, the value is 0. `seqeval_f1@PER` and its like count the entities of one type. Where errors count as wrong, nothing was found in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from raybench.core.errors import ConfigError, DataError
from raybench.core.outputs import Tags
from raybench.core.protocols import Scored
from raybench.core.types import Sample
from raybench.metrics.ratio import Ratio

Entity = tuple[str, int, int]
"""Type, first word, word behind the last."""
MEASURES = ("f1", "precision", "recall")


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities that the tags of one sentence mark, in order.

    Args:
        tags: O, or a letter of BIES with `-` and a type behind it, or the letter alone.

    Raises:
        ValueError: for another tag.
    """
    found: list[Entity] = []
    before, kind, start = "O", "", 0
    for i, tag in enumerate((*tags, "O")):
        letter, _, now = tag.partition("-")
        if letter not in ("O", "B", "I", "E", "S") or (letter == "O" and now):
            raise ValueError(f"word {i}: '{tag}' is no BIO tag")
        if before in ("B", "I") and letter in ("I", "E") and now == kind:
            before = letter
            continue
        if before != "O":
            found.append((kind, start, i))
        before, kind, start = letter, now, i
    return found


def _counts(scored: Scored, of_type: str | None) -> tuple[int, int, int]:
    """Entities that are right, that were answered and that are true, over the repeats of a sample."""
    sample = scored.sample
    true = _true(sample, of_type)
    num_right = num_answered = 0
    for prediction in scored.predictions:
        if not isinstance(prediction.output, Tags):
            raise ConfigError(f"sample '{sample.id}': seqeval metrics compare tags. Ask the task as `tag`.")
        labels = prediction.output.labels
        if len(labels) != len(sample.targets):
            raise DataError(f"sample '{sample.id}': {len(sample.targets)} true tags for {len(labels)} words. Expected one a word.")
        try:
            answered = _of_type(entities(labels), of_type)
        except ValueError as error:
            raise ConfigError(
                f"sample '{sample.id}': the answer of {error}. Map the checkpoint's label names to BIO tags: label_map on the model."
            ) from error
        num_right += len(true & answered)
        num_answered += len(answered)
    return num_right, num_answered, len(true) * len(scored.predictions)


def _true(sample: Sample, of_type: str | None) -> set[Entity]:
    try:
        return _of_type(entities(sample.targets), of_type)
    except ValueError as error:
        raise DataError(f"sample '{sample.id}': {error}. Expected O, B-TYPE, I-TYPE (or E-TYPE, S-TYPE) as targets, one a word.") from error


def _of_type(found: Sequence[Entity], of_type: str | None) -> set[Entity]:
    return {entity for entity in found if of_type is None or entity[0] == of_type}


def _parts(scored: Scored, measure: str, of_type: str | None) -> tuple[float, float]:
    """What a sample adds above and below the line: 2 tp / (answered + true), tp / answered or tp / true."""
    right, answered, true = _counts(scored, of_type)
    match measure:
        case "precision":
            return float(right), float(answered)
        case "recall":
            return float(right), float(true)
        case _:
            return 2.0 * right, float(answered + true)


def _nothing_found(sample: Sample, measure: str, of_type: str | None) -> tuple[float, float] | None:
    """What an unanswered sample adds; the precision of what nobody found has no value."""
    return None if measure == "precision" else (0.0, float(len(_true(sample, of_type))))


def seqeval(measure: str, of_type: str | None = None) -> Ratio:
    """The metric `seqeval_<measure>`, or `seqeval_<measure>@<type>` of the entities of one type.

    Args:
        measure: One of `MEASURES`.
        of_type: What stands behind `B-`; None: all types together.
    """
    name = f"seqeval_{measure}"
    return Ratio(
        name=name if of_type is None else f"{name}@{of_type}",
        parts_of=partial(_parts, measure=measure, of_type=of_type),
        stats=("above", "below"),
        of_nothing=0.0,
        signature="entities:conlleval",
        wrong=partial(_nothing_found, measure=measure, of_type=of_type),
    )
