"""What a sample was answered, as submission files want it: an option's number, or a number."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

from raybench.core.outputs import Classification
from raybench.core.protocols import Scored
from raybench.driver.inspect_rows import Inspected
from raybench.metrics.decision import scores_of


def chosen(found: Inspected) -> int:
    """The number of the option or label with the highest score, the first of equal ones."""
    scores = _scores(found)
    return scores.index(max(scores))


def number(found: Inspected) -> float:
    """The value of a regression, or the chosen option read as a number."""
    output = found.predictions[0].output
    return output.logits[0] if isinstance(output, Classification) else float(found.sample.choices[chosen(found)])


def zipped(files: Mapping[str, str]) -> bytes:
    """A zip of texts by file name; the same texts give the same bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)  # ZipInfo: dated 1980
    return stream.getvalue()


def _scores(found: Inspected) -> tuple[float, ...]:
    return scores_of(Scored(sample=found.sample, predictions=found.predictions, extracted=[None] * len(found.predictions)))
