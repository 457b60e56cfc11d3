"""CoNLL-2003: names of persons, organisations, places and others in English news, one tag a word.

Paper: Tjong Kim Sang and De Meulder 2003, "Introduction to the CoNLL-2003 Shared Task", https://aclanthology.org/W03-0419
Data: eriktks/conll2003 on the hub, 3,453 test rows, tags in IOB2. Its files are made by a script, which is not run here: map it to a copy by `data:`, as
Parquet (the hub's own conversion, refs/convert/parquet) or in any other format. Licence: the text is Reuters', for research by agreement with NIST.
Metrics: seqeval's F1, of all names and of each type, precision and recall.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raybench.core.types import Kind, Prompt, Sample
from raybench.tasks.task import Form, Group, Source, Task

LABELS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC")
"""In the order of the hub's numbers."""


def to_sample(row: Mapping[str, Any], default_id: str) -> Sample:
    """One sentence; tags are numbers in the hub's files."""
    return Sample(id=default_id, fields=row, targets=tuple(LABELS[tag] for tag in row["ner_tags"]))


def to_words(sample: Sample) -> Prompt:
    """The words to be labelled."""
    return Prompt(text="", words=tuple(sample.fields["tokens"]))


TASK = Task(
    name="conll2003",
    version="1",
    source=Source(path="eriktks/conll2003", split="test"),
    to_sample=to_sample,
    forms={
        Kind.TAG: Form(
            to_prompt=to_words,
            metrics=("seqeval_f1", "seqeval_precision", "seqeval_recall", *(f"seqeval_f1@{t}" for t in ("PER", "ORG", "LOC", "MISC"))),
            labels=LABELS,
        )
    },
    about="names of persons, organisations and places in news (NER)",
    paper="https://aclanthology.org/W03-0419",
    licence="research only (Reuters, NIST)",
)
TASKS: tuple[Task, ...] = (TASK,)
GROUPS: tuple[Group, ...] = ()
