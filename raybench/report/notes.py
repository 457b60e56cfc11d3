"""What stands under a table: reasons, errors, shares, warnings, the PARTIAL marker, signatures. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from raybench.core.results import Result
from raybench.report.noise import noise_line
from raybench.report.plain import plain
from raybench.report.table import Row, Table, signature_parts

_SHARES = (
    ("share_length", "of the answers were stopped by the token budget"),
    ("share_unparsed", "of the answers have no extractable answer"),
    ("share_truncated", "of the prompts were cut to fit the context"),
)
WARN_ABOVE = 0.01
"""A share above this is among the warnings of the run already: it can move a score by more than its last digit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One line under the table."""

    text: str
    is_warning: bool


def notes(table: Table) -> tuple[Note, ...]:
    """The lines under `table`, in the order in which they are shown."""
    return (
        *(Note(text=f"({number}) {reason}", is_warning=True) for number, reason in enumerate(table.footnotes, start=1)),
        *_answers(table),
        *(
            Note(text=f"{row.title}, {row.metric}: not asked alike ({row.difference}); no best is marked", is_warning=True)
            for row in table.rows
            if row.difference
        ),
        *(Note(text=f"warning: {text}", is_warning=True) for text in table.warnings),
        *_noise(table),
        *_partial(table),
    )


def signatures(table: Table) -> tuple[str, ...]:
    """All different signatures in the order of the rows, each with its models where a row has several signatures."""
    lines: dict[str, None] = {}
    for signed in _signed(table):
        lines.update(dict.fromkeys(_with_models([(label, "|".join(parts)) for label, parts in signed])))
    return tuple(lines)


def short_signatures(table: Table) -> tuple[str, ...]:
    """The same where there is little room: what all tasks share stands once, then what all tasks of a model share, then the rest."""
    rows = _signed(table)
    of_tasks = [(label, parts) for signed in rows for label, parts in signed if _is_task(parts)]
    if len({tuple(parts) for _, parts in of_tasks}) < 2:
        return signatures(table)
    shared = _common([parts for _, parts in of_tasks])
    of_model = {label: _common([parts for own, parts in of_tasks if own == label]) for label, _ in of_tasks}
    lines = {f"every task: {'|'.join(shared)}": None} if shared else {}
    heads = [(label, "|".join(part for part in parts if part not in shared)) for label, parts in of_model.items()]
    lines.update(dict.fromkeys(_with_models([head for head in heads if head[1]], always=True)))
    for signed in rows:
        own = [(label, [part for part in parts if part not in of_model[label]] if _is_task(parts) else parts) for label, parts in signed]
        lines.update(dict.fromkeys(_with_models([(label, "|".join(parts)) for label, parts in own])))
    return tuple(lines)


def _signed(table: Table) -> list[list[tuple[str, list[str]]]]:
    """(model, parts of its signature) of every row; a withheld result has no signature."""
    return [
        [
            (column.label, plain(cell.result.signature).split("|"))
            for column, cell in zip(table.columns, row.cells, strict=True)
            if cell.result is not None and cell.result.signature
        ]
        for row in table.rows
    ]


def _is_task(parts: list[str]) -> bool:
    """Groups have parts of their own and stay whole."""
    return parts[0].startswith("task:")


def _common(signatures: list[list[str]]) -> list[str]:
    """Parts that all have; never the first, which names the task."""
    return [part for part in signatures[0][1:] if all(part in other for other in signatures)]


def _with_models(said: list[tuple[str, str]], *, always: bool = False) -> list[str]:
    """Each different text once, with its models where there are several texts."""
    by_text: dict[str, list[str]] = {}
    for label, text in said:
        by_text.setdefault(text, []).append(label)
    return [f"{', '.join(labels)}: {text}" if always or len(by_text) > 1 else text for text, labels in by_text.items()]


def _answers(table: Table) -> Iterator[Note]:
    """Errors and shares, once a (task, form, model), since the metrics of a task mostly share them."""
    titles: dict[str, list[Row]] = {}
    for row in table.rows:
        titles.setdefault(row.title, []).append(row)
    for title, rows in titles.items():
        for index, column in enumerate(table.columns):
            subject = f"{title}, {column.label}" if len(table.columns) > 1 else title
            found = [(row, row.cells[index].result) for row in rows]
            pairs = [(row, result) for row, result in found if result is not None and result.withheld is None]
            yield from _errors(subject, pairs)
            yield from _shares(subject, pairs)


def _errors(subject: str, pairs: list[tuple[Row, Result]]) -> Iterator[Note]:
    by_count: dict[int, list[tuple[Row, Result]]] = {}
    for row, result in pairs:
        if result.estimate.num_errors:
            by_count.setdefault(result.estimate.num_errors, []).append((row, result))
    for count, alike in by_count.items():
        wrong = [(row, result.value_if_errors_wrong) for row, result in alike if result.value_if_errors_wrong is not None]
        # the metric is named where more than one could be meant
        values = ", ".join(row.scale.write(value) if len(pairs) == 1 else f"{row.metric} {row.scale.write(value)}" for row, value in wrong)
        text = f"{subject}: {count} error{'s' if count > 1 else ''}"
        yield Note(text=f"{text}; {values} if {'they were' if count > 1 else 'it were'} wrong" if values else text, is_warning=True)


def _shares(subject: str, pairs: list[tuple[Row, Result]]) -> Iterator[Note]:
    for name, words in _SHARES:
        metrics: dict[float, list[str]] = {}
        for row, result in pairs:
            share = getattr(result, name)
            if share is not None:
                metrics.setdefault(share, []).append(row.metric)
        for share, names in metrics.items():
            if 0 < share <= WARN_ABOVE:
                which = f" ({', '.join(names)})" if len(metrics) > 1 else ""
                percent = "< 0.1" if share < 0.001 else f"{100 * share:.1f}"
                yield Note(text=f"{subject}: {percent} % {words}{which}", is_warning=False)


def _noise(table: Table) -> Iterator[Note]:
    for index, recheck in table.rechecks:
        mine = [row for row in table.rows if row.task == plain(recheck.task) and recheck.form in row.form.split(", ")]
        found = {row.metric: (row, row.cells[index].result) for row in mine}
        errors = {
            name: row.scale.write(result.estimate.stderr)
            for name, (row, result) in found.items()
            if result is not None and result.estimate.stderr is not None
        }
        whose = f"{table.columns[index].label}, " if len(table.columns) > 1 else ""
        yield Note(text=f"{whose}{plain(noise_line(recheck, errors))}", is_warning=False)


def _partial(table: Table) -> Iterator[Note]:
    """The marker of limited runs, with the columns it concerns where it does not concern all that have results."""
    limits: dict[str, list[str]] = {}
    num_answered = 0
    for index, column in enumerate(table.columns):
        results = (row.cells[index].result for row in table.rows)
        parts = [signature_parts(plain(result.signature)) for result in results if result is not None]
        found = {part.get("limit") or "PARTIAL" for part in parts if "limit" in part or "PARTIAL" in part}
        num_answered += bool(parts)
        if found:
            text = ", ".join(f"limit:{value}" if value != "PARTIAL" else "limited" for value in sorted(found))
            limits.setdefault(text, []).append(column.label)
    for text, labels in limits.items():
        which = "" if len(labels) == num_answered else f" ({', '.join(labels)})"
        yield Note(text=f"PARTIAL{which}: {text}; not the whole data set, not to be compared with full runs", is_warning=True)
