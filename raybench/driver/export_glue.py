"""The submission of GLUE: a zip of one TSV a task, `index` and `prediction`.

Files and spellings as on https://gluebenchmark.com (FAQ) and in jiant 1.3, the benchmark's own software (jiant/evaluate.py, _write_glue_preds).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from raybench.driver.answers import chosen, number, zipped
from raybench.driver.inspect_rows import Inspected
from raybench.tasks.glue import MNLI, PARTS

FILES: Mapping[str, str] = {
    "glue/test/cola": "CoLA.tsv",
    "glue/test/sst2": "SST-2.tsv",
    "glue/test/mrpc": "MRPC.tsv",
    "glue/test/stsb": "STS-B.tsv",
    "glue/test/qqp": "QQP.tsv",
    "glue/test/mnli_matched": "MNLI-m.tsv",
    "glue/test/mnli_mismatched": "MNLI-mm.tsv",
    "glue/test/qnli": "QNLI.tsv",
    "glue/test/rte": "RTE.tsv",
    "glue/test/wnli": "WNLI.tsv",
    "glue/test/ax": "AX.tsv",
}
"""Task to the name of its file."""
_NAMED = ("mnli_matched", "mnli_mismatched", "qnli", "rte")
"""Labels are written by name, those of other tasks by number."""


def render(tasks: Mapping[str, Iterator[Inspected]]) -> bytes:
    """The zip of these tasks' samples."""
    return zipped({FILES[task]: "".join(_lines(task.removeprefix("glue/test/"), samples)) for task, samples in tasks.items()})


def _lines(name: str, samples: Iterator[Inspected]) -> Iterator[str]:
    what = MNLI if name == "ax" else PARTS[name].what
    yield "index\tprediction\n"
    for position, found in enumerate(samples):
        if what is None:
            answer = f"{min(5.0, max(0.0, number(found))):.3f}"
        else:
            answer = what.labels[chosen(found)] if name in (*_NAMED, "ax") else str(chosen(found))
        yield f"{found.sample.fields.get('idx', position)}\t{answer}\n"
