"""`raybench samples`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import islice

import click

from raybench.core.outputs import Classification, Embedding, Spans, Tags
from raybench.core.types import OPTION, Generation, Likelihoods, Output, Request, TextLikelihood
from raybench.driver.inspect_rows import Inspected, Which, inspect_samples
from raybench.report.plain import plain

_MARKS = ("wrong", "errors", "truncated", "unparsed", "length")


@click.command("samples")
@click.argument("run")
@click.option("--task", required=True, help="Task, as in the table.")
@click.option("--model", help="Model, as in the table; by default all.")
@click.option("--id", "ids", multiple=True, help="Only this sample; may stand several times.")
@click.option("--wrong", "which", flag_value="wrong", help="Only answers below the best score.")
@click.option("--errors", "which", flag_value="errors", help="Only samples without an answer.")
@click.option("--truncated", "which", flag_value="truncated", help="Only cut prompts.")
@click.option("--unparsed", "which", flag_value="unparsed", help="Only generations without an extractable answer.")
@click.option("--length", "which", flag_value="length", help="Only generations stopped by max_tokens.")
@click.option("-n", "count", default=5, show_default=True, type=click.IntRange(1), help="How many.")
@click.option("--full", is_flag=True, help="Show description and few-shot examples as well.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(
    run: str, task: str, model: str | None, ids: tuple[str, ...], which: Which | None, count: int, full: bool, as_json: bool
) -> int:
    """Show questions, answers and scores of single samples.

    \b
    raybench samples runs/quickstart --task quickstart/choice --wrong -n 3
    """
    found = list(islice(inspect_samples(run, task=task, model=model, which=which or "all", ids=ids), count))
    for item in found:
        click.echo(json.dumps(_as_json(item), ensure_ascii=False) if as_json else _as_text(item, full=full))
    if not found:
        click.echo(f"no {which or ''} samples of {task}".replace("  ", " "), err=True)
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
    if item.sample.targets:
        lines.append(block("target", " | ".join(item.sample.targets)))
    for row in item.scores:
        value = row["status"] if row["stats"] is None else ", ".join(f"{v:g}" for v in row["stats"])
        extracted = "" if not any(row["extracted"] or []) else f"  extracted: {', '.join(str(e) for e in row['extracted'])}"
        lines.append(plain(f"{row['metric']:>10}  {value}{extracted}"))
    return "\n".join(lines) + "\n"


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
            return [block("options", "\n".join([*rows, "(* most likely, = right)"]))]
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
