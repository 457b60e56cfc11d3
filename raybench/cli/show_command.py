"""`raybench show`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from raybench.cli.options import read_config, what_options
from raybench.cli.samples_command import block
from raybench.driver.show import ShownSample, show_samples
from raybench.report.plain import plain


@click.command("show")
@what_options
@click.option("--task", help="Only this task.")
@click.option("--only", help="Only this model, by its name in the table.")
@click.option("-n", "count", default=1, show_default=True, type=click.IntRange(1), help="Samples of each model and task.")
@click.option("--tokens", is_flag=True, help="Show token ids as well.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(task: str | None, only: str | None, count: int, tokens: bool, as_json: bool, **source: Any) -> int:
    """Show the exact prompts of a task, after the chat template, with tokens and targets.

    \b
    raybench show configs/quickstart.yaml --task quickstart/choice -n 2
    """
    for item in show_samples(read_config(source), task=task, model=only, count=count):
        click.echo(_as_json(item) if as_json else _as_text(item, with_tokens=tokens))
    return 0


def _as_json(item: ShownSample) -> str:
    rows = [
        {"request": r.request, "sampling": None if r.sampling is None else asdict(r.sampling), **asdict(s)}
        for r, s in zip(item.requests, item.shown, strict=True)
    ]
    return json.dumps({"model": item.model, "task": item.task, "sample": asdict(item.sample), "requests": rows}, ensure_ascii=False)


def _as_text(item: ShownSample, *, with_tokens: bool) -> str:
    lines = [click.style(f"── {item.model}  {item.task}  {plain(item.sample.id)}", bold=True)]
    for request, shown in zip(item.requests, item.shown, strict=True):
        count = "" if shown.tokens is None else f"  [{len(shown.tokens)} tokens]"
        lines.append(block(f"{request.request or 'prompt'}", f"{shown.text}▏{count}"))
        if shown.error is not None:
            lines.append(block("error", shown.error))
        if with_tokens and shown.tokens is not None:
            lines.append(block("tokens", " ".join(map(str, shown.tokens))))
        for index, option in enumerate(shown.continuations):
            mark = "=" if index == item.sample.label else " "
            ids = shown.continuation_tokens[index] if shown.continuation_tokens else ()
            size = f"  [{len(ids)} tokens{': ' + ' '.join(map(str, ids)) if with_tokens else ''}]" if ids else ""
            lines.append(block(f"option {index}{mark}", f"{option!r}{size}"))
        if request.sampling is not None:
            s = request.sampling
            how = "greedy" if s.temperature == 0 else f"temperature {s.temperature:g}, top_p {s.top_p:g}, seed {request.seed}"
            lines.append(block("sampling", f"{how}, at most {s.max_tokens} tokens, stops: {', '.join(map(repr, s.stop)) or 'none'}"))
    if item.sample.targets and item.requests[0].kind != "rolling":
        lines.append(block("target", " | ".join(item.sample.targets)))
    return "\n".join(lines) + "\n"
