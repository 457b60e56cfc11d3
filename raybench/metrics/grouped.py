"""Metrics of samples that are right or wrong together: the answers to one question of MultiRC, the two sentences of a pair of AX-g.

Samples of a group may lie in several shards; the group counts when all of them have been seen. Its statistics are the unit of value and error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from raybench.core.errors import DataError
from raybench.core.protocols import Scored, Wrong
from raybench.core.types import Sample
from raybench.metrics.choice import ACC
from raybench.metrics.decision import decide

Row = tuple[float, ...]


@runtime_checkable
class GroupMetric(Protocol):
    """A metric whose units are groups of samples, each with one row of statistics."""

    def group_of(self, sample: Sample) -> str:
        """Names the group of a sample."""

    def of_group(self, rows: Sequence[Row]) -> Row | None:
        """The statistics of a group from those of its samples; None where it does not count."""


@dataclass(slots=True, kw_only=True)
class Grouped:
    """The share of groups that `of_group` accepts."""

    name: str
    group_of: Callable[[Sample], str]
    """Names the group of a sample."""
    score_of: Callable[[Scored], float]
    """The number of one sample."""
    accepts: Callable[[Sequence[float]], bool | None]
    """Whether the numbers of a group make it right; None: it does not count."""
    stats: tuple[str, ...] = ("right",)
    signature: str = ""
    is_mean: bool = True
    higher_is_better: bool = True
    wrong: Wrong = (0.0,)

    def score(self, scored: Scored) -> Row:
        return (self.score_of(scored),)

    def of_group(self, rows: Sequence[Row]) -> Row | None:
        found = self.accepts([row[0] for row in rows])
        return None if found is None else (float(found),)

    def value(self, sums: Any, n: Any) -> Any:
        return ACC.value(sums, n)


class Groups:
    """Collects the samples of one metric by group."""

    def __init__(self, metric: GroupMetric) -> None:
        self._metric = metric
        self._rows: dict[str, list[Row]] = {}
        self._clusters: dict[str, str | None] = {}
        self._broken: dict[str, bool] = {}

    def add(self, sample: Sample, row: Row) -> None:
        """Take in the statistics of an answered sample."""
        group = self._metric.group_of(sample)
        self._rows.setdefault(group, []).append(row)
        self._clusters.setdefault(group, sample.cluster)

    def drop(self, sample: Sample, *, is_error: bool) -> None:
        """The sample has no answer, or no right one: its group does not count."""
        group = self._metric.group_of(sample)
        self._broken[group] = is_error or self._broken.get(group, False)

    @property
    def num_errors(self) -> int:
        """Groups with a sample that has no answer."""
        return sum(self._broken.values())

    def units(self) -> tuple[list[Row], list[str | None]]:
        """The statistics of the whole groups, and the cluster of each."""
        found = [(self._metric.of_group(rows), self._clusters[g]) for g, rows in self._rows.items() if g not in self._broken]
        return [row for row, _ in found if row is not None], [cluster for row, cluster in found if row is not None]


def _question(sample: Sample) -> str:
    """Paragraph and question: questions are numbered anew in each paragraph of the original files."""
    number = sample.fields.get("idx")
    if not isinstance(number, dict) or not {"paragraph", "question"} <= number.keys():
        raise DataError(
            f"sample '{sample.id}': multirc_em needs the numbers of paragraph and question in `idx`, found {number!r}. "
            "Expected {paragraph: 0, question: 1, answer: 2}, as SuperGLUE has it."
        )
    return f"{number['paragraph']}-{number['question']}"


_GENDERED = re.compile(r"\b(he|she|him|her|his|hers|himself|herself)\b", re.IGNORECASE)


def _pair(sample: Sample) -> str:
    """The two sentences without the gender of pronouns, which is all that a pair of AX-g differs in."""
    return "\n".join(_GENDERED.sub("*", sample.fields[name]) for name in ("premise", "hypothesis"))


MULTIRC_EM = Grouped(name="multirc_em", group_of=_question, score_of=ACC.score_of, accepts=lambda right: min(right) == 1.0)
"""All answers to a question judged rightly (Khashabi et al. 2018, exact match; official for SuperGLUE)."""
GENDER_PARITY = Grouped(
    name="gender_parity",
    group_of=_pair,
    score_of=lambda scored: float(decide(scored).answer),
    accepts=lambda answers: len(set(answers)) == 1 if len(answers) > 1 else None,
    wrong=None,
)
"""Pairs that differ in a pronoun's gender alone and are answered alike (Wang et al. 2019, section 3.3)."""
