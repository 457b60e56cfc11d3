"""`raybench samples`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import cast

import click

from raybench.core.errors import ConfigError
from raybench.core.outputs import Classification, Embedding, Generation, Likelihoods, Output, Spans, Tags, TextLikelihood
from raybench.core.types import OPTION, Kind, Request
from raybench.driver.inspect_rows import Inspected, Which, inspect_samples
from raybench.metrics.registry import get_metric
from raybench.report.plain import plain

_NONE_FOUND = {
    "wrong": "no wrong answers",
    "errors": "no samples without an answer",
    "truncated": "no cut prompts",
    "unparsed": "no generations without an extractable answer",
    "length": "no generations stopped by max_tokens",
}
"""An option that chooses samples, and what is said where it chooses none."""


@click.command("samples")
@click.argument("run")
@click.option("--task", required=True, help="Task, as in the table.")
@click.option("--model", help="Model, as in the table; by default all.")
@click.option("--id", "ids", multiple=True, help="Only this sample; may stand several times.")
@click.option("--wrong", is_flag=True, help="Only answers below the best score.")
@click.option("--errors", is_flag=True, help="Only samples without an answer.")
@click.option("--truncated", is_flag=True, help="Only cut prompts.")
@click.option("--unparsed", is_flag=True, help="Only generations without an extractable answer.")
@click.option("--length", is_flag=True, help="Only generations stopped by max_tokens.")
@click.option("-n", "count", default=5, show_default=True, type=click.IntRange(1), help="How many.")
@click.option("--full", is_flag=True, help="Show description and few-shot examples as well.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(run: str, task: str, model: str | None, ids: tuple[str, ...], count: int, full: bool, as_json: bool, **chosen: bool) -> int:
    """Show questions, answers and scores of single samples.

    \b
    raybench samples runs/quickstart --task quickstart/choice --wrong -n 3
    """
    marks = [name for name in _NONE_FOUND if chosen[name]]
    if len(marks) > 1:
        raise click.UsageError(f"{', '.join(f'--{name}' for name in marks)}: one of them at a time.")
    which = cast(Which, marks[0]) if marks else "all"
    found = list(islice(inspect_samples(run, task=task, model=model, which=which, ids=ids), count))
    for item in found:
        click.echo(json.dumps(_as_json(item), ensure_ascii=False) if as_json else _as_text(item, full=full))
    if not found:
        click.echo(f"{_NONE_FOUND.get(which, 'no samples')} in {task}", err=True)
    return 0


def _as_json(item: Inspected) -> dict[str, object]:
    return {
        "model": item.model,
        "task": item.task,
        "sample": asdict(item.sample),
        "requests": [{**asdict(r), "context": r.context} for r in item.requests],
        "predictions": [asdict(p) for p in item.predictions],
        "scores": list(item.scores),
    }


def _as_text(item: Inspected, *, full: bool) -> str:
    lines = [click.style(f"── {item.model}  {item.task}  {plain(item.sample.id)}", bold=True)]
    for request, prediction in zip(item.requests, item.predictions, strict=True):
        name = f" ({request.request})" if request.request else ""
        repeat = f" #{request.repeat}" if len(item.requests) > 1 and not request.request else ""
        hidden = "" if full or not (request.shots or request.description) else f"[{len(request.shots)} examples before] "
        text = request.context if full else f"{request.prompt}{request.delimiter}{request.prefix}" if request.prefix else request.prompt
        pair = "" if request.pair is None else f"\n{request.pair}"
        lines.append(block(f"prompt{name}{repeat}", f"{hidden}{text}{pair}"))
        if prediction.error_code is not None:
            lines.append(block("error", f"{prediction.error_code}: {prediction.error_message}"))
        else:
            lines += _answer(prediction.output, request, _Options.of(item, request))
    if item.sample.targets and item.requests[0].kind is not Kind.ROLLING:  # of a text that is scored as it is, the target is the prompt
        lines.append(block("target", " | ".join(item.sample.targets)))
    for row in item.scores:
        value = row["status"] if row["stats"] is None else _statistics(row["metric"], row["stats"])
        extracted = ["nothing" if e is None else e for e in row["extracted"] or [] if item.requests[0].kind is Kind.GENERATE]
        lines.append(plain(f"{row['metric']:>10}  {value}{'  extracted: ' if extracted else ''}{', '.join(extracted)}"))
    return "\n".join(lines) + "\n"


def _statistics(metric: str, stats: Sequence[float]) -> str:
    """What a sample brings to a metric: of several numbers each with its name, where the metric is one of ours."""
    try:
        names = get_metric(metric.partition("[")[0]).stats
    except ConfigError:  # a metric of a task of lm-evaluation-harness
        names = ()
    is_named = len(stats) > 1 and len(names) == len(stats)
    return (
        ", ".join(f"{name} {value:g}" for name, value in zip(names, stats, strict=True)) if is_named else ", ".join(f"{v:g}" for v in stats)
    )


@dataclass(frozen=True, slots=True)
class _Options:
    """How the options of a request are marked."""

    start: int
    """Number of the first one among the sample's options."""
    best: int | None
    """Number of the most likely one; None where there is nothing to choose from."""
    right: int | None

    @classmethod
    def of(cls, item: Inspected, request: Request) -> _Options:
        """Where the options are questions, each is a request of its own, and they are compared with one another."""
        if not request.request.startswith(OPTION):
            mine = next(p.output for r, p in zip(item.requests, item.predictions, strict=True) if r is request)
            found = list(mine.logprobs) if isinstance(mine, Likelihoods) else []
            return cls(0, found.index(max(found)) if found else None, item.sample.label)
        outputs = [p.output for r, p in zip(item.requests, item.predictions, strict=True) if r.request.startswith(OPTION)]
        found = [o.logprobs[0] for o in outputs if isinstance(o, Likelihoods)]
        best = found.index(max(found)) if len(found) == len(outputs) else None
        return cls(int(request.request.removeprefix(OPTION)), best, item.sample.label)


def _answer(output: Output | None, request: Request, marked: _Options) -> list[str]:
    options = request.continuations
    match output:
        case Generation():
            reasoning = [] if output.reasoning is None else [block("reasoning", output.reasoning)]
            if not output.turns:
                return [*reasoning, block("answer", output.text)]
            questions = ["", *request.turns]
            spoken = zip(questions, output.turns, strict=True)
            said = [b for q, a in spoken for b in ([block("then", q)] if q else []) + [block("answer", a)]]
            return [*said[:-1], *reasoning, said[-1]]
        case TextLikelihood():
            return [block("logprob", f"{output.logprob:.4f} over {output.num_tokens} tokens")]
        case Likelihoods() if not options:
            return [block("logprob", f"{output.logprobs[0]:.4f} over {output.num_tokens[0]} tokens")]
        case Likelihoods():
            numbers = range(marked.start, marked.start + len(options))
            marks = [("*" if i == marked.best else " ") + ("=" if i == marked.right else " ") for i in numbers]
            rows = [f"{m} {lp:10.4f}  {option}" for m, lp, option in zip(marks, output.logprobs, options, strict=True)]
            legend = "(* most likely)" if marked.right is None else "(* most likely, = right)"
            return [block("options", "\n".join([*rows, legend]))]
        case Classification():
            names = request.labels or ("value",) * len(output.logits)
            marks = ["*" if name == output.label else " " for name in names]
            rows = [f"{m} {x:10.4f}  {name}" for m, x, name in zip(marks, output.logits, names, strict=True)]
            return [block("labels", "\n".join(rows))]
        case Tags():
            return [block("tags", " ".join(f"{word}/{label}" for word, label in zip(request.words or (), output.labels, strict=True)))]
        case Spans():
            found = zip(output.texts[:3], output.starts, output.scores, strict=False)
            return [block("spans", "\n".join([*(f"{x:10.4f}  {a}: {t}" for t, a, x in found), f"{output.null_score:10.4f}  no answer"]))]
        case Embedding():
            return [block("vector", f"{len(output.vector)} numbers, the first {', '.join(f'{x:.4f}' for x in output.vector[:4])}")]
        case _:
            return []


def block(title: str, text: str) -> str:
    """A title and a text beside it, with what could move the cursor taken out."""
    first, *rest = [plain(line) for line in text.split("\n")] or [""]
    return "\n".join([f"{title:>10}  {first}", *(f"{'':>10}  {line}" for line in rest)])
