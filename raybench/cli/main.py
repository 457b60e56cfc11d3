"""The entry point: which commands there are, and what an error becomes.

A command's module is imported when the command is asked for: `raybench --help` then needs click alone. This is the one place where our own
modules are imported late.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import sys
import traceback
from contextlib import suppress
from pathlib import Path

import click

from raybench.cli.streams import ReaderGone, telling_streams
from raybench.core.errors import InternalError, RaybenchError
from raybench.core.garbage import fewer_collections
from raybench.core.version import VERSION

COMMANDS = {
    "run": "Evaluate models on tasks; the same command again resumes.",
    "plan": "Show what a run would do: shards, requests, engines. Touches no GPU.",
    "show": "Show the exact prompts of a task, after the chat template, with tokens and targets.",
    "status": "Show how far a run is, from another terminal.",
    "report": "Print the results of one or several runs as a table, Markdown, LaTeX, CSV or JSON.",
    "samples": "Show questions, answers and scores of single samples.",
    "score": "Compute the metrics of a run again from its stored answers. Needs no model.",
    "recheck": "Answer some samples of a run again with the PyTorch engine in float32: the noise floor of its numbers.",
    "export": "Write the answers to test splits as a file that a benchmark's site takes.",
    "verify": "Check every file of a run against its digests and print the hash of its content.",
    "submit": "Run a configuration on a cluster: the driver runs there too, and the same command resumes.",
    "jobs": "List, show, follow, cancel or fetch what was submitted to a Ray cluster.",
    "list": "List tasks, engines, metrics or extractors, or those whose names begin with BEGIN.",
    "doctor": "Check the installation, GPUs, Ray, vLLM and disk, and say what to do about each problem.",
}
"""Command to its one line; a test holds them against the commands' own help."""


class Commands(click.Group):
    """Finds commands by name, in the order of the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        with fewer_collections():
            module = importlib.import_module(f"raybench.cli.{cmd_name}_command")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            close = get_close_matches(args[0], COMMANDS, n=1)
            raise click.UsageError(f"{error.message}{f' Did you mean {close[0]!r}?' if close else ''}", ctx) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(VERSION, prog_name="raybench")
def cli() -> None:
    """Evaluate language models: the same number on one core or on 64 GPUs.

    \b
    raybench run configs/quickstart.yaml
    raybench run --model ./checkpoint --tasks arc_challenge,gsm8k --shots 5
    """


def main() -> None:
    """Run a command; our own errors become one message and their exit code, others a traceback and 1."""
    atexit.register(gc.freeze)  # a last search for garbage through a million objects of torch and transformers would take a second
    sys.path.append(str(Path.cwd()))  # `package.module:TASK` finds modules beside the configuration, as `python -m` would
    with telling_streams():
        code = _exit_code()
    sys.exit(code)


def _exit_code() -> int:
    try:
        code = cli(standalone_mode=False)
        with suppress(ReaderGone):
            sys.stdout.flush()
    except RaybenchError as error:
        if isinstance(error, InternalError):
            traceback.print_exc()
        click.echo(f"raybench: {error.message}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except click.Abort:
        return 130
    except ReaderGone:
        return 0
    return code if isinstance(code, int) else 0
