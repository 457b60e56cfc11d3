"""Answers of a run as the file that a benchmark's own site takes: `raybench export RUN --format glue`.

A format is a value of FORMATS, in a file of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from raybench.core.config import RunConfig
from raybench.core.errors import ConfigError, IncompleteError
from raybench.core.mistakes import suggest
from raybench.driver import export_glue, export_squad, export_super_glue
from raybench.driver.catalog import open_catalog
from raybench.driver.inspect_rows import Inspected, inspect_samples
from raybench.driver.paths import model_path
from raybench.driver.plan import Pair, read_pair
from raybench.store.files import replace
from raybench.store.objects import is_uri
from raybench.store.run_dir import RunDir


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One kind of submission."""

    tasks: tuple[str, ...]
    """Names of the tasks that it has a place for."""
    suffix: str
    """Of the file: `.zip`."""
    render: Callable[[Mapping[str, Iterator[Inspected]]], bytes]
    """Task to its samples in dataset order, all of them answered, to the content of the file; not all tasks need to be there."""


FORMATS: Mapping[str, Format] = {
    "glue": Format(tasks=tuple(export_glue.FILES), suffix=".zip", render=export_glue.render),
    "squad": Format(tasks=("squad",), suffix=".json", render=export_squad.render),
    "squad_v2": Format(tasks=("squad_v2",), suffix=".json", render=export_squad.render),
    "superglue": Format(tasks=tuple(export_super_glue.FILES), suffix=".zip", render=export_super_glue.render),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written."""

    file: Path
    tasks: tuple[str, ...]
    missing: tuple[str, ...]
    """Tasks of the format that the run does not have."""


def export(path: str | Path, form: str, *, model: str | None = None, output: Path | None = None) -> Exported:
    """Write the answers of one model to the tasks of a format.

    Args:
        path: The run directory, or its URI.
        form: Name of the format.
        model: Name in the tables; None: the only one.
        output: The file; None: `<format>-<model>.zip` in the run directory; must be named where that is a URI.

    Raises:
        ConfigError: when the run has none of the format's tasks, several models, or was limited, or the file's folder is missing.
        IncompleteError: when a sample has no answer.
    """
    wanted = FORMATS[form]
    if output is None and is_uri(str(path)):
        raise ConfigError(f"{path}: a submission is a file on this machine. Say which: --output {form}{wanted.suffix}.")
    store = RunDir.open(path)
    manifest = store.manifest()
    pairs = [read_pair(value) for value in manifest["plan"]["pairs"]]
    names = {e.label: e.task.name for e in open_catalog(RunConfig.model_validate(manifest["config"])).entries}
    fitting = [p for p in pairs if names[p.task] in wanted.tasks]
    if not fitting:
        raise ConfigError(f"{path}: none of its tasks belongs into a submission to {form}. Expected some of {', '.join(wanted.tasks)}.")
    chosen = _of_model(path, fitting, model)
    parts = {names[p.task]: _answered(path, p) for p in chosen}
    if len(parts) < len(chosen):
        raise ConfigError(
            f"{path}: a task was asked in several ways ({', '.join(p.task for p in chosen)}); a submission takes one of them."
        )
    file = output or store.path / f"{form}-{model_path(chosen[0].model_name)}{wanted.suffix}"
    if not file.parent.is_dir():
        raise ConfigError(f"{file.parent}: no such folder. Make it, or choose another --output.")
    replace(file, wanted.render(parts))
    return Exported(file=file, tasks=tuple(parts), missing=tuple(t for t in wanted.tasks if t not in parts))


def _of_model(path: str | Path, pairs: list[Pair], model: str | None) -> list[Pair]:
    models = sorted({p.model_name for p in pairs})
    if model is None and len(models) > 1:
        raise ConfigError(f"{path}: a submission is of one model, the run has {', '.join(models)}. Name one: --model.")
    name = model or models[0]
    if name not in models:
        raise ConfigError(f"{path}: no model '{name}'.{suggest(name, models)} Models: {', '.join(models)}.")
    chosen = [p for p in pairs if p.model_name == name]
    limited = [p.task for p in chosen if p.limit is not None]
    if limited:
        raise ConfigError(f"{path}: a submission needs all samples; {', '.join(limited)} ran with a limit. Run again without it.")
    return chosen


def _answered(path: str | Path, pair: Pair) -> Iterator[Inspected]:
    for found in inspect_samples(path, task=pair.task, model=pair.model_name):
        error = next((p for p in found.predictions if p.error_code is not None), None)
        if error is not None:
            raise IncompleteError(
                f"{path}: {pair.task}: sample '{found.sample.id}' has no answer ({error.error_code}), and a submission needs all of them. "
                f"See `raybench samples {path} --task {pair.task} --errors`."
            )
        yield found
