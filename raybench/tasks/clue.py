"""CLUE: sentences and pairs in Chinese with one label each, for a head (`classify`) and for a prompted model (`loglikelihood`).

Papers: Xu et al. 2020, "CLUE: A Chinese Language Understanding Evaluation Benchmark", https://arxiv.org/abs/2004.05986; Hu et al. 2020, "OCNLI: Original
Chinese Natural Language Inference", https://arxiv.org/abs/2010.05444
Data: clue/clue on the hub, configurations afqmc, cmnli, ocnli, tnews and cluewsc2020; ChnSentiCorp, hotel, book and computer reviews, is
lansinuote/ChnSentiCorp there. No commit of them is pinned here: map them to copies, or pin them, by `data:`. CLUEWSC also in the authors' own rows, where
labels are texts. Licences: of each data set; CLUE states none. Idioms (CHID) are in chid.py, reading (CMRC 2018, DRCD) in chinese_reading.py.
Labels: in the order of the hub's numbers. Metric: accuracy. A head reads CLUEWSC with marks around both places, as CLUE's own baseline does
(github.com/CLUEbenchmark/CLUE, baselines/models_pytorch/classifier_pytorch/processors/clue.py). Prompts are raybench's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from raybench.core.types import Kind, Prompt, Sample
from raybench.tasks.task import Fewshot, Form, Group, Source, Task

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One of the data sets."""

    name: str
    about: str
    source: Source
    labels: tuple[str, ...]
    """Of a head, in the order of the data's numbers."""
    texts: Callable[[Row], tuple[str, str | None]]
    """What a head reads: a text, or a pair."""
    question: Callable[[Row], str]
    options: tuple[str, ...]
    """Answers to the question, in the order of the labels."""
    paper: str = "https://arxiv.org/abs/2004.05986"
    licence: str = "not stated"


def _to_sample(part: _Part, row: Row, default_id: str) -> Sample:
    found = row["label"]
    label = part.labels.index(found) if isinstance(found, str) else found
    return Sample(id=default_id, fields=row, choices=part.labels, label=None if label == -1 else label)


def _read(part: _Part, sample: Sample) -> Prompt:
    text, pair = part.texts(sample.fields)
    return Prompt(text=text, pair=pair)


def _ask(part: _Part, sample: Sample) -> Prompt:
    answer = None if sample.label is None else part.options[sample.label]
    return Prompt(text=part.question(sample.fields), answer=answer, continuations=part.options)


def _pair(row: Row) -> tuple[str, str | None]:
    return row["sentence1"], row["sentence2"]


def _inferred(row: Row) -> str:
    return f"{row['sentence1']}\n由此可知：{row['sentence2']}\n这个推断对吗？"


def spans_of(row: Row) -> Row:
    """The two places of CLUEWSC, which stand in `target` on the hub and in the authors' files: span1 is the noun, span2 the pronoun."""
    found: Row = row.get("target") or row
    return found


def marked(row: Row) -> str:
    """The text with `_` around the noun and `[` `]` around the pronoun."""
    text: str = row["text"]
    spans = spans_of(row)
    places = [(spans[f"span{i}_index"], spans[f"span{i}_text"], marks) for i, marks in ((1, "__"), (2, "[]"))]
    for start, words, marks in sorted(places, reverse=True):
        text = f"{text[:start]}{marks[0]}{text[start : start + len(words)]}{marks[1]}{text[start + len(words) :]}"
    return text


def _meant(row: Row) -> str:
    spans = spans_of(row)
    return f"{row['text']}\n问题：句中的“{spans['span2_text']}”指的是“{spans['span1_text']}”吗？\n答案："


_INFERENCE: dict[str, Any] = {
    "labels": ("neutral", "entailment", "contradiction"),
    "texts": _pair,
    "question": _inferred,
    "options": ("不一定", "对", "不对"),
}
_TOPICS = {
    "story": "故事", "culture": "文化", "entertainment": "娱乐", "sports": "体育", "finance": "财经", "house": "房产", "car": "汽车", "edu": "教育",
    "tech": "科技", "military": "军事", "travel": "旅游", "world": "国际", "stock": "股票", "agriculture": "农业", "game": "游戏",
}  # fmt: skip


def _clue(config: str) -> Source:
    return Source(path="clue/clue", config=config, split="validation")


PARTS = (
    _Part(
        name="afqmc",
        about="whether two questions to a bank mean the same (CLUE)",
        source=_clue("afqmc"),
        labels=("different", "same"),
        texts=_pair,
        question=lambda row: f"句子一：{row['sentence1']}\n句子二：{row['sentence2']}\n问题：两个句子的意思相同吗？\n答案：",
        options=("不同", "相同"),
    ),
    _Part(name="cmnli", about="inference in Chinese, mostly translated (CLUE)", source=_clue("cmnli"), **_INFERENCE),
    _Part(
        name="ocnli",
        about="inference in Chinese, original sentences (CLUE)",
        source=_clue("ocnli"),
        paper="https://arxiv.org/abs/2010.05444",
        **_INFERENCE,
    ),
    _Part(
        name="tnews",
        about="topic of a headline, 15 classes (CLUE)",
        source=_clue("tnews"),
        labels=tuple(f"news_{name}" for name in _TOPICS),
        texts=lambda row: (row["sentence"], None),
        question=lambda row: f"新闻标题：{row['sentence']}\n类别：",
        options=tuple(_TOPICS.values()),
    ),
    _Part(
        name="cluewsc",
        about="whether a pronoun means a noun (CLUE)",
        source=_clue("cluewsc2020"),
        labels=("true", "false"),
        texts=lambda row: (marked(row), None),
        question=_meant,
        options=("是", "不是"),
    ),
    _Part(
        name="chnsenticorp",
        about="whether a review is positive",
        source=Source(path="lansinuote/ChnSentiCorp", split="validation"),
        labels=("negative", "positive"),
        texts=lambda row: (row["text"], None),
        question=lambda row: f"评论：{row['text']}\n情感：",
        options=("负面", "正面"),
        paper="",
    ),
)


def _task(part: _Part) -> Task:
    train = Source(path=part.source.path, config=part.source.config, split="train")
    return Task(
        name=part.name,
        version="1",
        source=part.source,
        to_sample=partial(_to_sample, part),
        forms={
            Kind.CLASSIFY: Form(to_prompt=partial(_read, part), metrics=("acc",), labels=part.labels),
            Kind.LOGLIKELIHOOD: Form(to_prompt=partial(_ask, part), metrics=("acc",), delimiter=""),
        },
        fewshot=Fewshot(source=train),
        about=part.about,
        paper=part.paper,
        licence=part.licence,
    )


TASKS: tuple[Task, ...] = tuple(map(_task, PARTS))
GROUPS: tuple[Group, ...] = ()
