"""WikiText-2: the likelihood of whole Wikipedia pages.

Paper: Merity et al. 2016, "Pointer Sentinel Mixture Models", https://arxiv.org/abs/1609.07843
Data: EleutherAI/wikitext_document_level on the hub, configuration wikitext-2-raw-v1, one page a row. Licence: CC BY-SA 3.0.
As lm-eval 0.4.13 (tasks/wikitext): the text that is scored has natural spacing; words and bytes are counted on the page as it was.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from raybench.core.types import Kind, Prompt, Sample
from raybench.tasks.task import Form, Group, Source, Task

REVISION = "647234772b9554e208af6c826f23b99e3cac88c8"

_NUMBERS = ((" @-@ ", "-"), (" @,@ ", ","), (" @.@ ", "."))
_MARKS = tuple((f" {mark} ", f"{mark} ") for mark in (":", ";", ".", "!", "?", ","))
_SLIP = re.compile("/' [0-9]/")
_PAIRS = (("(", ")"), ("[", "]"), ("{", "}"), ('"', '"'), ("'", "'"))
_REST = (
    ("= = = =", "===="),
    ("= = =", "==="),
    ("= =", "=="),
    (" ° ", "°"),
    (" \n", "\n"),
    ("\n ", "\n"),
    (" N ", " 1 "),
    (" 's", "'s"),
)


def detokenize(page: str) -> str:
    """Natural spacing for the spaced-out tokens of WikiText; substitutions and their order are those of lm-eval 0.4.13."""
    page = page.replace("s '", "s'")
    page = _SLIP.sub("/'[0-9]/", page)  # a slip of the original, kept: the digit becomes the text [0-9]
    for old, new in (*_NUMBERS, *_MARKS):
        page = page.replace(old, new)
    for opening, closing in _PAIRS:
        page = _tighten(page, opening, closing)
    for old, new in _REST:
        page = page.replace(old, new)
    return page


def _tighten(text: str, opening: str, closing: str) -> str:
    """Strip the text between an opening mark and the next closing one; linear in the length."""
    pieces: list[str] = []
    position = 0
    while (start := text.find(opening, position)) >= 0 and (stop := text.find(closing, start + 1)) >= 0:
        pieces += (text[position : start + 1], text[start + 1 : stop].strip(), closing)
        position = stop + 1
    return "".join((*pieces, text[position:]))


def to_sample(row: Mapping[str, Any], default_id: str) -> Sample:
    """The target is the page before detokenising: words and bytes are counted on it."""
    return Sample(id=default_id, fields={}, targets=(row["page"],))


def to_prompt(sample: Sample) -> Prompt:
    """The page with natural spacing."""
    return Prompt(text=detokenize(sample.targets[0]))


TASK = Task(
    name="wikitext",
    version="1",
    source=Source(path="EleutherAI/wikitext_document_level", config="wikitext-2-raw-v1", split="test", revision=REVISION),
    to_sample=to_sample,
    forms={Kind.ROLLING: Form(to_prompt=to_prompt, metrics=("word_perplexity", "byte_perplexity", "bits_per_byte"))},
    about="likelihood of Wikipedia pages",
    paper="https://arxiv.org/abs/1609.07843",
    licence="CC BY-SA 3.0",
)
TASKS: tuple[Task, ...] = (TASK,)
GROUPS: tuple[Group, ...] = ()
