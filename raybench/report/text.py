"""A table as Markdown and LaTeX, and results as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence

from raybench.core.recheck import rechecks_to_json
from raybench.core.results import Result, Results, results_to_json
from raybench.report.grid import GridCell, grid
from raybench.report.notes import notes, signatures
from raybench.report.plain import is_unsafe, plain
from raybench.report.table import Table

_MARKDOWN_SPECIAL = re.compile(r"[\\`*\[\]<>|~&$]|(?<![^\W_])_|_(?![^\W_])")
"""Also `|`, which ends a table cell; an underscore inside a word is no emphasis on GitHub."""
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    '"': r"\textquotedbl{}", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$", "–": "--", "[": "{[}", "]": "{]}",
}  # fmt: skip
# a bracket is put in braces because `[` after a line's `\\` would be taken for its optional argument
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_CSV_FIELDS = (
    "run", "model", "task", "form", "metric", "value", "stderr", "ci95_low", "ci95_high", "num_samples", "num_errors",
    "value_if_errors_wrong", "higher_is_better", "share_length", "share_unparsed", "share_truncated", "withheld", "failed", "signature",
)  # fmt: skip


def render_markdown(table: Table) -> str:
    """A GitHub table, notes as a list, signatures folded away. Groups stand last, in italics."""
    lines: list[str] = []
    content = grid(table)
    if content.rows:
        title = [f"**{_markdown(content.title)}**", ""] if content.title else []
        rule = [":--" if i < content.num_text_columns else "--:" for i in range(len(content.header))]
        lines += [*title, _pipes([_markdown(name) for name in content.header]), _pipes(rule)]
        for row in content.rows:
            texts = [_markdown_cell(cell) for cell in row.cells]
            lines.append(_pipes([f"*{texts[0]}*", *texts[1:]] if row.is_group else texts))
    else:
        lines.append("No results.")
    said = notes(table)
    if said:
        lines += [
            "",
            *(f"- {'**' + text + '**' if text.startswith('PARTIAL') else text}" for text in (_markdown(note.text) for note in said)),
        ]
    signed = signatures(table)
    if signed:
        # three backticks in a signature could end the fence
        fenced = [line.replace("```", "'''") for line in signed]
        lines += ["", "<details><summary>Signatures</summary>", "", "```text", *fenced, "```", "", "</details>"]
    return "\n".join(lines) + "\n"


def render_latex(table: Table) -> str:
    """A booktabs tabular, notes below it in small print, signatures as comments."""
    lines = ["% needs \\usepackage{booktabs}"]
    content = grid(table)
    if content.rows:
        if content.title:
            lines.append(f"% {content.title}")
        letters = "".join("l" if i < content.num_text_columns else "r" for i in range(len(content.header)))
        lines += [rf"\begin{{tabular}}{{{letters}}}", r"\toprule", _ampersands([_latex(name) for name in content.header]), r"\midrule"]
        was_group = False
        for index, row in enumerate(content.rows):
            if row.is_group and not was_group and index:
                lines.append(r"\midrule")
            was_group = row.is_group
            lines.append(_ampersands([rf"\textbf{{{_latex(cell.text)}}}" if cell.is_best else _latex(cell.text) for cell in row.cells]))
        lines += [r"\bottomrule", r"\end{tabular}"]
    else:
        lines.append("No results.")
    lines += [rf"\par{{\footnotesize {_latex(note.text)}}}" for note in notes(table)]
    lines += [f"% {line}" for line in signatures(table)]
    return "\n".join(lines) + "\n"


def render_csv(runs: Sequence[Results]) -> str:
    """One line a result with unscaled numbers, and one a failed model without results.

    A text that a spreadsheet would take for a formula has an apostrophe before it
    (https://owasp.org/www-community/attacks/CSV_Injection).
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _CSV_FIELDS, lineterminator="\n", restval="")
    writer.writeheader()
    for run in runs:
        for result in run.results:
            writer.writerow(_csv_row(run, result))
        answered = {result.model for result in run.results}
        for model, reason in run.failed_models.items():
            if model not in answered:
                writer.writerow({"run": _csv_text(run.run), "model": _csv_text(model), "failed": _csv_text(reason)})
    return stream.getvalue()


def render_json(runs: Sequence[Results]) -> str:
    """What results.json holds, with rechecks where there are any; for several runs a list of it. Exact: unsafe characters are escaped, not removed."""
    values = [results_to_json(run) | ({"recheck": rechecks_to_json(run.rechecks)} if run.rechecks else {}) for run in runs]
    text = json.dumps(values[0] if len(values) == 1 else values, indent=2, ensure_ascii=False, allow_nan=False)
    # such characters occur only inside strings, where the escape means the same
    return "".join(json.dumps(c)[1:-1] if c != "\n" and is_unsafe(c) else c for c in text).replace("\x7f", "\\u007f") + "\n"


def _pipes(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _markdown(text: str) -> str:
    return _MARKDOWN_SPECIAL.sub(lambda match: "\\" + match.group(), text)


def _markdown_cell(cell: GridCell) -> str:
    return f"**{_markdown(cell.text)}**" if cell.is_best else _markdown(cell.text)


def _ampersands(texts: Sequence[str]) -> str:
    return " & ".join(texts) + r" \\"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _csv_text(text: str) -> str:
    text = plain(text)
    return f"'{text}" if text.lstrip()[:1] in ("=", "+", "-", "@") and not _NUMBER.fullmatch(text) else text


def _csv_row(run: Results, result: Result) -> dict[str, str]:
    estimate = result.estimate
    low, high = estimate.ci95 or (None, None)
    values: dict[str, str | float | bool | None] = {
        "run": run.run, "model": result.model, "task": result.task, "form": result.form, "metric": result.metric,
        "value": estimate.value, "stderr": estimate.stderr, "ci95_low": low, "ci95_high": high,
        "num_samples": estimate.num_samples, "num_errors": estimate.num_errors,
        "value_if_errors_wrong": result.value_if_errors_wrong, "higher_is_better": result.higher_is_better,
        "share_length": result.share_length, "share_unparsed": result.share_unparsed, "share_truncated": result.share_truncated,
        "withheld": result.withheld, "failed": run.failed_models.get(result.model), "signature": result.signature,
    }  # fmt: skip
    return {
        name: "" if value is None else _csv_text(value) if isinstance(value, str) else str(value).lower() for name, value in values.items()
    }
