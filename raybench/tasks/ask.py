"""A row made into a sample, and a sample into a prompt: the two calls into a task's own code, with errors that name the place."""

from __future__ import annotations

from collections.abc import Iterator

from raybench.core.errors import DataError, RaybenchError
from raybench.core.types import Prompt, Sample
from raybench.tasks.lines import Row
from raybench.tasks.source import Located, rows
from raybench.tasks.task import Form, Task


def samples(task: Task, located: Located, split: str) -> Iterator[tuple[int, Sample]]:
    """The samples of a data set in its order, each with its row number.

    Args:
        task: Whose `to_sample` is used.
        located: The rows.
        split: The default id of a sample is `<split>-<row number>`.

    Raises:
        DataError: when the task cannot make a sample of a row; names task, row and field.
    """
    to_sample = task.to_sample
    for number, row in rows(located):
        try:
            yield number, to_sample(row, f"{split}-{number}")
        except RaybenchError:
            raise
        except Exception as error:
            raise DataError(
                f"task '{task.name}', sample '{split}-{number}' (row {number} of {located.place}): {_reason(error, row)}"
            ) from error


def prompt_of(task: Task, form: Form, sample: Sample) -> Prompt:
    """What the form asks about a sample; errors as in `samples`."""
    try:
        return form.to_prompt(sample)
    except RaybenchError:
        raise
    except Exception as error:
        raise DataError(
            f"task '{task.name}', sample '{sample.id}': no prompt can be made: {_reason(error, dict(sample.fields))}"
        ) from error


def _reason(error: Exception, row: Row) -> str:
    if isinstance(error, KeyError) and error.args and error.args[0] not in row:
        return f"there is no field {error.args[0]!r}. The row has: {', '.join(row)}."
    return f"{type(error).__name__}: {error}. The row has: {', '.join(row)}."
