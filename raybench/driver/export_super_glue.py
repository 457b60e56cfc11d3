"""The submission of SuperGLUE: a zip of one JSONL a task, `idx` and `label`; MultiRC nests answers in questions in passages.

Files and spellings as on https://super.gluebenchmark.com (FAQ) and in jiant 1.3, the benchmark's own software (jiant/evaluate.py, _write_*_preds).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from raybench.driver.answers import chosen, zipped
from raybench.driver.inspect_rows import Inspected

FILES: Mapping[str, str] = {
    "super_glue/test/boolq": "BoolQ.jsonl",
    "super_glue/test/cb": "CB.jsonl",
    "super_glue/test/copa": "COPA.jsonl",
    "super_glue/test/multirc": "MultiRC.jsonl",
    "super_glue/test/record": "ReCoRD.jsonl",
    "super_glue/test/rte": "RTE.jsonl",
    "super_glue/test/wic": "WiC.jsonl",
    "super_glue/test/wsc": "WSC.jsonl",
    "super_glue/test/axb": "AX-b.jsonl",
    "super_glue/test/axg": "AX-g.jsonl",
}
"""Task to the name of its file."""
_ENTAILMENT = ("entailment", "not_entailment")
_SPELLED = {
    "boolq": ("false", "true"),
    "cb": ("entailment", "contradiction", "neutral"),
    "copa": (0, 1),
    "rte": _ENTAILMENT,
    "wic": ("false", "true"),
    "wsc": ("False", "True"),
    "axb": _ENTAILMENT,
    "axg": _ENTAILMENT,
}
"""Labels in the order of the data's numbers."""


def render(tasks: Mapping[str, Iterator[Inspected]]) -> bytes:
    """The zip of these tasks' samples."""
    return zipped({FILES[task]: _text(task.removeprefix("super_glue/test/"), samples) for task, samples in tasks.items()})


def _text(name: str, samples: Iterator[Inspected]) -> str:
    rows = {"multirc": _multirc, "record": _record}.get(name, _labels(name))(samples)
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def _labels(name: str) -> Callable[[Iterator[Inspected]], Iterator[dict[str, Any]]]:
    def rows(samples: Iterator[Inspected]) -> Iterator[dict[str, Any]]:
        for position, found in enumerate(samples):
            yield {"idx": found.sample.fields.get("idx", position), "label": _SPELLED[name][chosen(found)]}

    return rows


def _record(samples: Iterator[Inspected]) -> Iterator[dict[str, Any]]:
    for found in samples:
        yield {"idx": found.sample.fields["idx"]["query"], "label": found.sample.choices[chosen(found)]}


def _multirc(samples: Iterator[Inspected]) -> Iterator[dict[str, Any]]:
    passages: dict[int, dict[int, list[dict[str, int]]]] = {}
    for found in samples:
        number = found.sample.fields["idx"]
        answers = passages.setdefault(number["paragraph"], {}).setdefault(number["question"], [])
        answers.append({"idx": number["answer"], "label": chosen(found)})
    for passage, questions in passages.items():
        yield {"idx": passage, "passage": {"questions": [{"idx": q, "answers": a} for q, a in questions.items()]}}
