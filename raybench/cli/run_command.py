"""`raybench run`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click
import yaml

from raybench.cli.options import read_config, run_options
from raybench.cli.output import print_results
from raybench.cli.streams import ReaderGone
from raybench.core.config import RunConfig
from raybench.core.errors import RaybenchError
from raybench.driver.finish import tell_finish
from raybench.driver.run import Report, output_of, run
from raybench.report import Progress


@click.command("run")
@run_options
@click.option("--new", is_flag=True, help="Move an existing run directory aside and start afresh.")
@click.option("--reuse", multiple=True, help="Take over equal shards of another run; may stand several times.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@click.option(
    "--json-log",
    is_flag=True,
    help="Write what happens to stderr as JSON lines, with shards, engines and nodes, in place of the progress display.",
)
@click.option("-v", "--verbose", is_flag=True, help="Say what happens on the way.")
def command(new: bool, reuse: tuple[str, ...], as_json: bool, json_log: bool, verbose: bool, **source: Any) -> int:
    """Evaluate models on tasks; the same command again resumes.

    \b
    raybench run configs/quickstart.yaml
    raybench run configs/quickstart.yaml --limit 10 --pool ray
    raybench run --model ./checkpoint --tasks arc_challenge,gsm8k --shots 5

    Exit codes: 0 complete, 1 internal failure, 2 something is wrong with what was asked, 3 incomplete but resumable, 4 more errors than allowed, 130 interrupted.
    """
    config = read_config(source)
    if source.get("config") is None:
        click.echo(
            f"# this run as a file:\n{yaml.safe_dump(config.model_dump(mode='json', exclude_defaults=True), sort_keys=False)}", err=True
        )
    with _telling_failure(config):
        report = run(
            config, new=new, reuse=reuse, watch=None if json_log else _watch, tell=_tell(verbose), echo=_echo if json_log else None
        )
        with suppress(ReaderGone):
            print_results([report.results], "json" if as_json else "terminal")
    _close(config, report, json_log=json_log)
    return report.exit_code


@contextmanager
def _telling_failure(config: RunConfig) -> Iterator[None]:
    """Whatever ends the block early is told to `on_finish` too."""
    try:
        yield
    except Exception as error:
        code = error.exit_code if isinstance(error, RaybenchError) else 1
        _on_finish(config, output_of(config), code, f"{config.name}: {error}")
        raise


def _on_finish(config: RunConfig, path: str, code: int, summary: str) -> None:
    problem = tell_finish(config.on_finish, path=path, exit_code=code, summary=summary[:1000])
    if problem is not None:
        click.echo(f"raybench: {problem}", err=True)


@contextmanager
def _watch(total_samples: int, done_samples: int) -> Iterator[Any]:
    with Progress(sys.stderr, total_samples, time.monotonic, done_samples=done_samples) as progress:
        yield progress


def _tell(verbose: bool) -> Any:
    begin = time.monotonic()

    def tell(text: str) -> None:
        if verbose:
            click.echo(f"[{time.monotonic() - begin:6.1f} s] {text}", err=True)

    return tell


def _echo(line: str) -> None:
    click.echo(line, err=True)


def _close(config: RunConfig, report: Report, *, json_log: bool) -> None:
    """What a user wants to know at the end: how long, where, and what is left to do."""
    if json_log:
        last = {"event": "report", "time": time.time(), "run": report.name, "exit_code": report.exit_code, "problems": report.problems}
        _echo(json.dumps({**last, "samples": report.num_samples, "resumed": report.num_resumed}))
    else:
        click.echo(f"{_extent(report)} {report.outcome.seconds:.1f} s: {report.name}", err=True)
        for problem in report.problems:
            click.echo(f"raybench: {problem}", err=True)
    summary = report.problems[0] if report.problems else "complete"
    _on_finish(
        config, report.name, report.exit_code, f"{config.name}: {report.num_samples} samples in {report.outcome.seconds:.0f} s, {summary}"
    )


def _extent(report: Report) -> str:
    """What was done in the time that is told after it; samples are counted only where all of them have an answer or an error row."""
    if report.exit_code in (3, 130):
        return "incomplete after"
    if report.results.failed_models:
        return "without the models that failed, in"
    resumed = f", {report.num_resumed} of them from before" if report.num_resumed else ""
    return f"{report.num_samples} samples{resumed} in"
