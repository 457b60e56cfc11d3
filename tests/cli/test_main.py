"""The entry point: help, version, and what a mistake on the command line becomes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import pytest

from raybench.cli import main as module
from raybench.core import errors
from raybench.core.version import VERSION

Call = Callable[..., Any]


def test_help_lists_every_command_in_order(call: Call) -> None:
    said = call("--help")

    assert said.code == 0
    positions = [said.out.index(f"\n  {name} ") for name in module.COMMANDS]
    assert positions == sorted(positions)
    assert call("-h").out == said.out


def test_the_version_is_told(call: Call) -> None:
    assert call("--version").out == f"raybench, version {VERSION}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plam"], "No such command 'plam'. Did you mean 'plan'?"),
        (["zzz"], "No such command 'zzz'."),
        (["run", "--limt", "3"], "--limt"),
        (["status"], "Missing argument 'RUN'"),
        (["list", "things"], "'things' is not one of 'tasks', 'engines', 'metrics', 'extractors'"),
    ],
)
def test_a_mistake_on_the_command_line_ends_with_2(arguments: list[str], message: str, call: Call) -> None:
    said = call(*arguments)

    assert said.code == 2
    assert message in said.err
    assert said.out == ""


# the exit codes of core/errors.py
RAISED: list[tuple[BaseException, int]] = [
    (errors.ConfigError("what is wrong"), 2),
    (errors.RunError("what is wrong"), 2),
    (errors.StorageError("what is wrong"), 3),
    (errors.ToleranceError("what is wrong"), 4),
    (errors.InternalError("what is wrong"), 1),
    (click.Abort(), 130),
    (KeyboardInterrupt(), 130),
]


@pytest.mark.parametrize(("error", "code"), RAISED, ids=[type(e).__name__ for e, _ in RAISED])
def test_an_error_becomes_one_message_and_its_exit_code(
    error: BaseException, code: int, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command("status")
    def command() -> None:
        raise error

    monkeypatch.setattr("raybench.cli.status_command.command", command)

    said = call("status")

    assert said.code == code
    if isinstance(error, errors.RaybenchError):
        assert "raybench: what is wrong\n" in said.err
        # a traceback only where the fault is our own
        assert ("Traceback" in said.err) == (code == 1)


def test_what_nobody_foresaw_is_a_traceback(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command("status")
    def command() -> None:
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr("raybench.cli.status_command.command", command)

    with pytest.raises(ZeroDivisionError, match="unforeseen"):  # outside of a test: the interpreter's own exit code 1
        call("status")
