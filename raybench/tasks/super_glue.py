"""SuperGLUE: eight harder tasks and two diagnostic sets, each for a model with a head (`classify`) and for a prompted one (`loglikelihood`).

Paper: Wang et al. 2019, "SuperGLUE: A Stickier Benchmark for General-Purpose Language Understanding Systems", https://arxiv.org/abs/1905.00537
Data: aps/super_glue on the hub; every data set has its own licence. Labels of the test splits are hidden (-1): the tasks `super_glue/test/...` are
for submission files (`raybench export`). BoolQ is the task `boolq`. The diagnostic sets have test splits only; they are scored where labels are there.
Prompts: lm-eval 0.4.13, tasks/super_glue. With one difference: there a right answer of MultiRC is looked for behind "no", since choice 0 is "yes" and
label 1 means right; here behind "yes", as in the paper. AX-b and AX-g, which it lacks, are asked as RTE.
Heads: of COPA and ReCoRD every option is read on its own and the one with the highest score is the answer, as the paper's baseline does it: for COPA a
head with one value reads premise and question, and the option; for ReCoRD a head with two labels reads the passage, and the query with the option in it.
Score: the mean of eight tasks; of two metrics of a task the mean counts (paper, section 3).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from raybench.core.fingerprint import digest
from raybench.core.types import Kind, Prompt, Sample
from raybench.tasks import boolq
from raybench.tasks.labelled import Labelled, Row, columns, label_of
from raybench.tasks.task import Fewshot, Form, Group, Source, Task

PAPER = "https://arxiv.org/abs/1905.00537"
_NO_YES = ("no", "yes")
_TRUTH = ("False", "True")
_ENTAILMENT = ("entailment", "not_entailment")


def _cb(row: Row) -> str:
    return f"{row['premise']}\nQuestion: {row['hypothesis']}. True, False, or Neither?\nAnswer:"


def _rte(row: Row) -> str:
    return f"{row['premise']}\nQuestion: {row['hypothesis']} True or False?\nAnswer:"


def _axb(row: Row) -> str:
    return f"{row['sentence1']}\nQuestion: {row['sentence2']} True or False?\nAnswer:"


def _wic(row: Row) -> str:
    word = row["sentence1"][row["start1"] : row["end1"]]
    asked = f"Question: Is the word '{word}' used in the same way in the two sentences above?\nAnswer:"
    return f"Sentence 1: {row['sentence1']}\nSentence 2: {row['sentence2']}\n{asked}"


def _wic_pair(row: Row) -> tuple[str, str]:
    return f"{row['word']}: {row['sentence1']}", row["sentence2"]


def _wsc_passage(row: Row) -> str:
    """The text with stars around the pronoun, whose index counts words (lm-eval 0.4.13, tasks/super_glue/wsc/preprocess_wsc.py)."""
    text, pronoun = row["text"], row["span2_text"]
    before = " ".join(text.split()[: row["span2_index"]])
    return _detokenized(f"{before} *{pronoun}*{text[len(before) + len(pronoun) + 1 :]}")


def _detokenized(text: str) -> str:
    """Without the blanks of a tokenizer around punctuation (lm-eval 0.4.13, utils.py, general_detokenize)."""
    for spaced, plain in ((" n't", "n't"), (" )", ")"), ("( ", "("), ('" ', '"'), (' "', '"')):
        text = text.replace(spaced, plain)
    return re.sub(r" (['.,])", r"\1", text)


def _wsc(row: Row) -> str:
    asked = f'Question: In the passage above, does the pronoun "*{row["span2_text"]}*" refer to "*{row["span1_text"]}*"?'
    return f"Passage: {_wsc_passage(row)}\n{asked}\nAnswer:"


def _wsc_pair(row: Row) -> tuple[str, str]:
    return _wsc_passage(row), row["span1_text"]


def multirc_sample(row: Row, default_id: str) -> Sample:
    """One answer to a question, right or not; questions about one passage form a cluster."""
    return Sample(id=default_id, fields=row, choices=_NO_YES, label=label_of(row), cluster=digest(row["paragraph"])[:16])


def multirc_pair(sample: Sample) -> Prompt:
    """The passage, and the question with the answer."""
    row = sample.fields
    return Prompt(text=row["paragraph"], pair=f"{row['question']} {row['answer']}")


def multirc_prompt(sample: Sample) -> Prompt:
    """A question, answered and judged: the answer stands in both options."""
    row = sample.fields
    options = tuple(f"{row['answer']}\nIs the answer correct? {word}" for word in _NO_YES)
    answer = None if sample.label is None else options[sample.label]
    return Prompt(text=f"{row['paragraph']}\nQuestion: {row['question']}\nAnswer:", answer=answer, continuations=options)


def copa_sample(row: Row, default_id: str) -> Sample:
    """Two sentences to choose from."""
    return Sample(id=default_id, fields=row, choices=(row["choice1"], row["choice2"]), label=label_of(row))


def copa_prompt(sample: Sample) -> Prompt:
    """The premise, without its full stop, goes on with one of the options; the harness has two blanks between them."""
    premise = sample.fields["premise"].strip()[:-1]
    word = {"cause": "because", "effect": "therefore"}[sample.fields["question"]]
    options = tuple(f" {option[0].lower()}{option[1:]}" for option in sample.choices)
    return Prompt(text=f"{premise} {word}", answer=None if sample.label is None else options[sample.label], continuations=options)


def copa_pairs(sample: Sample) -> Prompt:
    """Premise and question, and each of the options (questions as in the paper's table 1)."""
    asked = {"cause": "What was the cause of this?", "effect": "What happened as a result?"}[sample.fields["question"]]
    return Prompt(text=f"{sample.fields['premise']} {asked}", continuations=sample.choices)


def record_sample(row: Row, default_id: str) -> Sample:
    """The entities of the passage, each once, in alphabetical order; several of them may be right."""
    answers = tuple(sorted(set(row["answers"])))
    return Sample(
        id=default_id, fields=row, choices=tuple(sorted(set(row["entities"]))), targets=answers, cluster=digest(row["passage"])[:16]
    )


def record_prompt(sample: Sample) -> Prompt:
    """The passage, its highlights as a list, and the query with each of the entities as its next point."""
    text, *highlights = sample.fields["passage"].strip().split("\n@highlight\n")
    points = "".join(f"  - {highlight}.\n" for highlight in highlights)
    # the harness shows the first right entity of the row itself
    shown = f"  - {_filled(sample, sample.targets[0])}" if sample.targets else None
    options = tuple(f"  - {_filled(sample, entity)}" for entity in sample.choices)
    return Prompt(text=f"{text}\n\n{points}", answer=shown, continuations=options)


def record_pairs(sample: Sample) -> Prompt:
    """The passage, and the query with each of the entities."""
    return Prompt(text=sample.fields["passage"], continuations=tuple(_filled(sample, entity) for entity in sample.choices))


def _filled(sample: Sample, entity: str) -> str:
    return str(sample.fields["query"]).replace("@placeholder", entity)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One data set of the benchmark."""

    to_sample: Callable[[Row, str], Sample]
    forms: Mapping[Kind, Form]
    about: str
    licence: str
    config: str
    examples: str
    """Configuration whose training split examples come from."""


def _labelled(what: Labelled, about: str, licence: str, config: str, examples: str | None = None) -> _Part:
    return _Part(to_sample=what.to_sample, forms=what.forms, about=about, licence=licence, config=config, examples=examples or config)


PARTS = {
    "cb": _labelled(
        Labelled(
            texts=columns("premise", "hypothesis"),
            labels=("entailment", "contradiction", "neutral"),
            question=_cb,
            options=("True", "False", "Neither"),
            metrics=("acc", "f1_macro"),
        ),
        "whether a clause of a text is meant",
        "not stated",
        "cb",
    ),
    "copa": _Part(
        to_sample=copa_sample,
        forms={
            Kind.CLASSIFY: Form(to_prompt=copa_pairs, metrics=("acc",)),
            Kind.LOGLIKELIHOOD: Form(to_prompt=copa_prompt, metrics=("acc",)),
        },
        about="cause or effect of an event",
        licence="BSD-2-Clause",
        config="copa",
        examples="copa",
    ),
    "multirc": _Part(
        to_sample=multirc_sample,
        forms={
            Kind.CLASSIFY: Form(to_prompt=multirc_pair, metrics=("f1", "multirc_em"), labels=_TRUTH),
            Kind.LOGLIKELIHOOD: Form(to_prompt=multirc_prompt, metrics=("f1", "multirc_em")),
        },
        about="which answers to a question about a passage are right",
        licence="not stated",
        config="multirc",
        examples="multirc",
    ),
    "record": _Part(
        to_sample=record_sample,
        forms={
            Kind.CLASSIFY: Form(to_prompt=record_pairs, metrics=("record_f1", "record_em"), labels=_TRUTH),
            Kind.LOGLIKELIHOOD: Form(to_prompt=record_prompt, metrics=("record_f1", "record_em")),
        },
        about="which entity of the news fills a gap",
        licence="not stated",
        config="record",
        examples="record",
    ),
    "rte": _labelled(
        Labelled(texts=columns("premise", "hypothesis"), labels=_ENTAILMENT, question=_rte, options=("True", "False")),
        "whether a text follows from another",
        "not stated",
        "rte",
    ),
    "wic": _labelled(
        Labelled(texts=_wic_pair, labels=_TRUTH, question=_wic, options=_NO_YES),
        "whether a word means the same in two sentences",
        "CC BY-NC 4.0",
        "wic",
    ),
    "wsc": _labelled(
        Labelled(texts=_wsc_pair, labels=_TRUTH, question=_wsc, options=_NO_YES), "what a pronoun refers to", "CC BY 4.0", "wsc.fixed"
    ),
}
_BOOLQ = _Part(
    to_sample=boolq.TASK.to_sample,
    forms=boolq.TASK.forms,
    about=boolq.TASK.about,
    licence=boolq.TASK.licence,
    config="boolq",
    examples="boolq",
)
DIAGNOSTIC = {
    "axb": _labelled(
        Labelled(
            texts=columns("sentence1", "sentence2"), labels=_ENTAILMENT, question=_axb, options=("True", "False"), metrics=("matthews",)
        ),
        "diagnostic pairs by phenomenon",
        "not stated",
        "axb",
        "rte",
    ),
    "axg": _labelled(
        Labelled(
            texts=columns("premise", "hypothesis"),
            labels=_ENTAILMENT,
            question=_rte,
            options=("True", "False"),
            metrics=("acc", "gender_parity"),
        ),
        "pairs that differ in a pronoun's gender",
        "MIT",
        "axg",
        "rte",
    ),
}


def _task(name: str, part: _Part, split: str) -> Task:
    return Task(
        name=name,
        version="1",
        source=_source(part.config, split),
        to_sample=part.to_sample,
        forms=part.forms,
        fewshot=Fewshot(source=_source(part.examples, "train")),
        about=part.about,
        paper=PAPER,
        licence=part.licence,
    )


def _source(config: str, split: str) -> Source:
    return Source(path="aps/super_glue", config=config, split=split, revision=boolq.REVISION)


_TEST = {"boolq": _BOOLQ, **PARTS, **DIAGNOSTIC}
TASKS: tuple[Task, ...] = (
    *(_task(f"super_glue/{name}", part, "validation") for name, part in PARTS.items()),
    *(_task(f"super_glue/test/{name}", part, "test") for name, part in _TEST.items()),
)
GROUPS: tuple[Group, ...] = (
    Group(
        name="super_glue",
        members=("boolq", *(f"super_glue/{name}" for name in PARTS)),
        metric="score",
        of={
            "boolq": ("acc",),
            "super_glue/cb": ("acc", "f1_macro"),
            "super_glue/multirc": ("f1", "multirc_em"),
            "super_glue/record": ("record_f1", "record_em"),
            **{f"super_glue/{name}": ("acc",) for name in ("copa", "rte", "wic", "wsc")},
        },
        weights="equal",
        about="the eight tasks and their official mean",
    ),
    Group(
        name="super_glue/test",
        members=tuple(f"super_glue/test/{name}" for name in _TEST),
        metric="",
        about="test splits, whose labels are hidden: for `raybench export`",
    ),
)
