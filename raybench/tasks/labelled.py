"""Texts with one label of a fixed set: how a head reads them and how a prompted model is asked, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from raybench.core.types import Kind, Prompt, Sample
from raybench.tasks.task import Form

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A classification benchmark in its two forms."""

    texts: Callable[[Row], tuple[str, str | None]]
    """What a head reads of a row: a text, and the second one of a pair."""
    labels: tuple[str, ...]
    """Label names of a head, in the order of the data's numbers."""
    question: Callable[[Row], str]
    """What a prompted model is asked about a row."""
    options: tuple[str, ...]
    """Its answers, in the same order."""
    metrics: tuple[str, ...] = ("acc",)
    """Of both forms."""
    cluster: Callable[[Row], str | None] = lambda row: None
    """What a row has in common with others."""

    def to_sample(self, row: Row, default_id: str) -> Sample:
        """The sample of a row, whose right answer stands in `label`; see `label_of`."""
        return Sample(id=default_id, fields=row, choices=self.options, label=label_of(row), cluster=self.cluster(row))

    @property
    def forms(self) -> dict[Kind, Form]:
        """For a head, and for a prompted model."""
        return {
            Kind.CLASSIFY: Form(to_prompt=partial(_read, self), metrics=self.metrics, labels=self.labels),
            Kind.LOGLIKELIHOOD: Form(to_prompt=partial(_ask, self), metrics=self.metrics),
        }


def label_of(row: Row) -> int | None:
    """The number of the right label; None where it is hidden: hub data sets then have -1, a benchmark's own files no such field."""
    label: int = row.get("label", -1)
    return None if label == -1 else label


def columns(first: str, second: str | None = None) -> Callable[[Row], tuple[str, str | None]]:
    """Reads a text, or a pair, from the columns of these names."""
    return lambda row: (row[first], None if second is None else row[second])


def _read(what: Labelled, sample: Sample) -> Prompt:
    text, pair = what.texts(sample.fields)
    return Prompt(text=text, pair=pair)


def _ask(what: Labelled, sample: Sample) -> Prompt:
    answer = None if sample.label is None else what.options[sample.label]
    return Prompt(text=what.question(sample.fields), answer=answer, continuations=what.options)
