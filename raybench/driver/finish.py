"""Tells a command of the user's how a run ended: a notification, a copy, the next step."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from raybench.store.objects import is_uri

TIMEOUT_S = 300.0
"""After this long the command is ended: a run does not hang on its notification."""


def words_of(command: Sequence[str], *, path: str, exit_code: int, summary: str) -> list[str]:
    """The command with {path}, {exit_code} and {summary} replaced inside its words; a word stays one word whatever is put in."""
    values = {"{path}": path, "{exit_code}": str(exit_code), "{summary}": " ".join(summary.split())}
    return [re.sub(r"\{(?:path|exit_code|summary)\}", lambda found: values[found.group()], word) for word in command]


def tell_finish(command: Sequence[str], *, path: str, exit_code: int, summary: str) -> str | None:
    """Run `on_finish`, without a shell. It cannot change the exit code of the run.

    Args:
        command: Its words; empty: nothing is done.
        path: The run directory, or its URI.
        exit_code: Of the run.
        summary: What it came to.

    Returns:
        What went wrong with the command, as a sentence, or None.
    """
    if not command:
        return None
    words = words_of(command, path=path if is_uri(path) else str(Path(path).expanduser().absolute()), exit_code=exit_code, summary=summary)
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False, timeout=TIMEOUT_S
        )
    except (OSError, ValueError) as error:
        return f"on_finish: {words[0]} cannot be run: {error}"
    except subprocess.TimeoutExpired:
        return f"on_finish: {words[0]} was ended after {TIMEOUT_S:g} s"
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-300:]
        return f"on_finish: {words[0]} ended with {done.returncode}{f': {said}' if said else ''}"
    return None
