"""BoolQ: yes-or-no questions about a passage of Wikipedia.

Paper: Clark et al. 2019, "BoolQ: Exploring the Surprising Difficulty of Natural Yes/No Questions", https://arxiv.org/abs/1905.10044
Data: aps/super_glue on the hub, configuration boolq, 3,270 validation rows, 9,427 for examples. Licence: CC BY-SA 3.0.
Prompts: lm-eval 0.4.13, tasks/super_glue/boolq/default.yaml (version 2.0). A head reads the question and the passage.
"""

from __future__ import annotations

from raybench.core.fingerprint import digest
from raybench.tasks.labelled import Labelled, Row, columns
from raybench.tasks.task import Fewshot, Group, Source, Task

REVISION = "3de24cf8022e94f4ee4b9d55a6f539891524d646"


def question(row: Row) -> str:
    """The passage and the question, which comes without its question mark."""
    return f"{row['passage']}\nQuestion: {row['question']}?\nAnswer:"


def passage(row: Row) -> str:
    """Questions about one passage form a cluster."""
    return digest(row["passage"])[:16]


BOOLQ = Labelled(texts=columns("question", "passage"), labels=("False", "True"), question=question, options=("no", "yes"), cluster=passage)


def _source(split: str) -> Source:
    return Source(path="aps/super_glue", config="boolq", split=split, revision=REVISION)


TASK = Task(
    name="boolq",
    version="1",
    source=_source("validation"),
    to_sample=BOOLQ.to_sample,
    forms=BOOLQ.forms,
    fewshot=Fewshot(source=_source("train")),
    about="yes-or-no questions about a passage",
    paper="https://arxiv.org/abs/1905.10044",
    licence="CC BY-SA 3.0",
)
TASKS: tuple[Task, ...] = (TASK,)
GROUPS: tuple[Group, ...] = ()
