"""The pairs that `--task` and `--model` name."""

from __future__ import annotations

from collections.abc import Sequence

from raybench.core.errors import ConfigError
from raybench.core.mistakes import suggest
from raybench.driver.plan import Pair


def choose(pairs: Sequence[Pair], *, task: str | None, model: str | None, where: str) -> list[Pair]:
    """Pairs of a task (its label) and a model (its name); None: all of them.

    Raises:
        ConfigError: when there is no such task or model, or the model is not asked the task; begins with `where`.
    """
    for what, name, known in (("task", task, [p.task for p in pairs]), ("model", model, [p.model_name for p in pairs])):
        if name is not None and name not in known:
            raise ConfigError(f"{where}: no {what} '{name}'.{suggest(name, known)} There is: {', '.join(dict.fromkeys(known))}.")
    chosen = [p for p in pairs if task in (None, p.task) and model in (None, p.model_name)]
    if not chosen:
        raise ConfigError(f"{where}: the model '{model}' is not asked '{task}'.")
    return chosen
