"""`raybench samples`."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import click

from raybench.core.types import Generation, Likelihoods, Output, TextLikelihood
from raybench.driver.inspect_rows import Inspected, Which, inspect_samples
from raybench.report.plain import plain

_MARKS = ("wrong", "errors", "truncated", "unparsed", "length")


@click.command("samples")
@click.argument("run", type=click.Path(path_type=Path))
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
    run: Path, task: str, model: str | None, ids: tuple[str, ...], which: Which | None, count: int, full: bool, as_json: bool
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
        text = request.context if full else request.prompt
        lines.append(block(f"prompt{name}{repeat}", f"{hidden}{text}"))
        if prediction.error_code is not None:
            lines.append(block("error", f"{prediction.error_code}: {prediction.error_message}"))
        else:
            lines += _answer(prediction.output, request.continuations, item.sample.label)
    if item.sample.targets:
        lines.append(block("target", " | ".join(item.sample.targets)))
    for row in item.scores:
        value = "error" if row["stats"] is None else ", ".join(f"{v:g}" for v in row["stats"])
        extracted = "" if not any(row["extracted"] or []) else f"  extracted: {', '.join(str(e) for e in row['extracted'])}"
        lines.append(plain(f"{row['metric']:>10}  {value}{extracted}"))
    return "\n".join(lines) + "\n"


def _answer(output: Output | None, options: tuple[str, ...], label: int | None) -> list[str]:
    match output:
        case Generation():
            return [block("answer", output.text)]
        case TextLikelihood():
            return [block("logprob", f"{output.logprob:.4f} over {output.num_tokens} tokens")]
        case Likelihoods():
            best = max(range(len(options)), key=output.logprobs.__getitem__)
            marks = [("*" if i == best else " ") + ("=" if i == label else " ") for i in range(len(options))]
            rows = [f"{m} {lp:10.4f}  {option}" for m, lp, option in zip(marks, output.logprobs, options, strict=True)]
            return [block("options", "\n".join([*rows, "(* most likely, = right)"]))]
        case _:
            return []


def block(title: str, text: str) -> str:
    """A title and a text beside it, with what could move the cursor taken out."""
    first, *rest = [plain(line) for line in text.split("\n")] or [""]
    return "\n".join([f"{title:>10}  {first}", *(f"{'':>10}  {line}" for line in rest)])
