"""GLUE: nine tasks of sentences and pairs, each for a model with a head (`classify`) and for a prompted one (`loglikelihood`).

Paper: Wang et al. 2018, "GLUE: A Multi-Task Benchmark and Analysis Platform for Natural Language Understanding", https://arxiv.org/abs/1804.07461
Data: nyu-mll/glue on the hub; every data set has its own licence. Labels of the test splits are hidden (-1): the tasks `glue/test/...`, among them
the diagnostic set AX, are for submission files (`raybench export`).
Prompts: lm-eval 0.4.13, tasks/glue. It has none for STS-B, where the answer is the most likely of the grades 0 to 5, and none for AX, which is asked
as MNLI.
Score: the mean of nine tasks; of two metrics of a task the mean counts, of MNLI the mean of matched and mismatched (paper, section 4.1).
"""

from __future__ import annotations

from dataclasses import dataclass

from raybench.core.types import Kind, Prompt, Sample
from raybench.tasks.labelled import Labelled, Row, columns
from raybench.tasks.task import Fewshot, Form, Group, Source, Task

REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
GRADES = ("0", "1", "2", "3", "4", "5")


def _cola(row: Row) -> str:
    return f"{row['sentence']}\nQuestion: Does this sentence make sense?\nAnswer:"


def _sst2(row: Row) -> str:
    return f"{row['sentence']}\nQuestion: Is this sentence positive or negative?\nAnswer:"


def _mrpc(row: Row) -> str:
    return f"Sentence 1: {row['sentence1']}\nSentence 2: {row['sentence2']}\nQuestion: Do both sentences mean the same thing?\nAnswer:"


def _qqp(row: Row) -> str:
    return f"Question 1: {row['question1']}\nQuestion 2: {row['question2']}\nQuestion: Do both questions ask the same thing?\nAnswer:"


def _mnli(row: Row) -> str:
    hypothesis = row["hypothesis"].strip()
    return f"{row['premise']}\nQuestion: {hypothesis}{'' if hypothesis.endswith('.') else '.'} True, False or Neither?\nAnswer:"


def _qnli(row: Row) -> str:
    return f"{row['question']}\n{row['sentence']}\nQuestion: Does this response answer the question?\nAnswer:"


def _rte(row: Row) -> str:
    return f"{row['sentence1']}\nQuestion: {row['sentence2']} True or False?\nAnswer:"


def graded_sample(row: Row, default_id: str) -> Sample:
    """STS-B: the right answer is a number from 0 to 5; hidden ones are -1."""
    grade = float(row.get("label", -1))
    return Sample(id=default_id, fields=row, choices=GRADES, targets=() if grade < 0 else (str(grade),))


def graded_prompt(sample: Sample) -> Prompt:
    """A question about the two sentences; an example answers with the nearest grade."""
    row = sample.fields
    question = "How similar in meaning are both sentences, from 0 (not at all) to 5 (the same)?"
    return Prompt(
        text=f"Sentence 1: {row['sentence1']}\nSentence 2: {row['sentence2']}\nQuestion: {question}\nAnswer:",
        answer=GRADES[int(float(sample.targets[0]) + 0.5)] if sample.targets else None,
        continuations=GRADES,
    )


def _graded_pair(sample: Sample) -> Prompt:
    return Prompt(text=sample.fields["sentence1"], pair=sample.fields["sentence2"])


_PAIR = columns("sentence1", "sentence2")
_GRADED = {
    Kind.CLASSIFY: Form(to_prompt=_graded_pair, metrics=("pearson", "spearman")),
    Kind.LOGLIKELIHOOD: Form(to_prompt=graded_prompt, metrics=("pearson", "spearman")),
}
MNLI = Labelled(
    texts=columns("premise", "hypothesis"),
    labels=("entailment", "neutral", "contradiction"),
    question=_mnli,
    options=("True", "Neither", "False"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One data set of the benchmark."""

    what: Labelled | None
    """None: STS-B, which has grades in place of labels."""
    about: str
    licence: str
    config: str
    split: str = ""
    """What distinguishes its evaluation splits where the configuration has several."""


PARTS = {
    "cola": _Part(
        what=Labelled(
            texts=columns("sentence"),
            labels=("unacceptable", "acceptable"),
            question=_cola,
            options=("no", "yes"),
            metrics=("matthews",),
        ),
        about="whether a sentence is grammatical",
        licence="not stated",
        config="cola",
    ),
    "sst2": _Part(
        what=Labelled(texts=columns("sentence"), labels=("negative", "positive"), question=_sst2, options=("negative", "positive")),
        about="sentiment of film reviews",
        licence="not stated",
        config="sst2",
    ),
    "mrpc": _Part(
        what=Labelled(texts=_PAIR, labels=("not_equivalent", "equivalent"), question=_mrpc, options=("no", "yes"), metrics=("acc", "f1")),
        about="whether two sentences of the news say the same",
        licence="Microsoft Research data licence",
        config="mrpc",
    ),
    "stsb": _Part(what=None, about="how similar two sentences are, 0 to 5", licence="CC BY-SA 4.0 and others", config="stsb"),
    "qqp": _Part(
        what=Labelled(
            texts=columns("question1", "question2"),
            labels=("not_duplicate", "duplicate"),
            question=_qqp,
            options=("no", "yes"),
            metrics=("acc", "f1"),
        ),
        about="whether two questions ask the same",
        licence="Quora terms of service",
        config="qqp",
    ),
    "mnli_matched": _Part(
        what=MNLI,
        about="whether a sentence follows from another, genres of the training data",
        licence="OANC, CC BY-SA 3.0, CC BY 3.0",
        config="mnli",
        split="_matched",
    ),
    "mnli_mismatched": _Part(
        what=MNLI,
        about="whether a sentence follows from another, other genres",
        licence="OANC, CC BY-SA 3.0, CC BY 3.0",
        config="mnli",
        split="_mismatched",
    ),
    "qnli": _Part(
        what=Labelled(
            texts=columns("question", "sentence"), labels=("entailment", "not_entailment"), question=_qnli, options=("yes", "no")
        ),
        about="whether a sentence answers a question",
        licence="CC BY-SA 4.0",
        config="qnli",
    ),
    "rte": _Part(
        what=Labelled(texts=_PAIR, labels=("entailment", "not_entailment"), question=_rte, options=("True", "False")),
        about="whether a text follows from another",
        licence="not stated",
        config="rte",
    ),
    "wnli": _Part(
        # the order of labels is not that of RTE
        what=Labelled(texts=_PAIR, labels=("not_entailment", "entailment"), question=_rte, options=("False", "True")),
        about="what a pronoun refers to, as inference",
        licence="CC BY 4.0",
        config="wnli",
    ),
}
_DIAGNOSTIC = _Part(what=MNLI, about="diagnostic pairs by phenomenon", licence="not stated", config="ax")


def _task(name: str, part: _Part, split: str) -> Task:
    return Task(
        name=name,
        version="1",
        source=_source(part.config, split + part.split),
        to_sample=graded_sample if part.what is None else part.what.to_sample,
        forms=_GRADED if part.what is None else part.what.forms,
        fewshot=Fewshot(source=_source("mnli" if part is _DIAGNOSTIC else part.config, "train")),
        about=part.about,
        paper="https://arxiv.org/abs/1804.07461",
        licence=part.licence,
    )


def _source(config: str, split: str) -> Source:
    return Source(path="nyu-mll/glue", config=config, split=split, revision=REVISION)


TASKS: tuple[Task, ...] = (
    *(_task(f"glue/{name}", part, "validation") for name, part in PARTS.items()),
    *(_task(f"glue/test/{name}", part, "test") for name, part in {**PARTS, "ax": _DIAGNOSTIC}.items()),
)
GROUPS: tuple[Group, ...] = (
    Group(
        name="glue/mnli",
        members=("glue/mnli_matched", "glue/mnli_mismatched"),
        metric="acc",
        weights="equal",
        about="matched and mismatched",
    ),
    Group(
        name="glue",
        members=("glue/cola", "glue/sst2", "glue/mrpc", "glue/stsb", "glue/qqp", "glue/mnli", "glue/qnli", "glue/rte", "glue/wnli"),
        metric="score",
        of={
            "glue/cola": ("matthews",),
            "glue/mrpc": ("acc", "f1"),
            "glue/stsb": ("pearson", "spearman"),
            "glue/qqp": ("acc", "f1"),
            **{f"glue/{name}": ("acc",) for name in ("sst2", "mnli", "qnli", "rte", "wnli")},
        },
        weights="equal",
        about="the nine tasks and their official mean",
    ),
    Group(
        name="glue/test",
        members=tuple(f"glue/test/{name}" for name in (*PARTS, "ax")),
        metric="",
        about="test splits, whose labels are hidden: for `raybench export`",
    ),
)
