"""Tasks declared in the configuration: rows from a file, prompts from templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from raybench.core.errors import ConfigError, DataError
from raybench.core.fingerprint import digest
from raybench.core.task_config import SourceConfig, TaskConfig
from raybench.core.types import Kind, Prompt, Sample, Sampling
from raybench.tasks.extract import get_extractor
from raybench.tasks.locate import is_local
from raybench.tasks.task import Extractor, Fewshot, Form, Source, Task
from raybench.tasks.template import Fields, Text, text_template, value_template

METRICS: dict[Kind, tuple[str, ...]] = {
    Kind.GENERATE: ("exact_match",),
    Kind.LOGLIKELIHOOD: ("acc", "acc_norm"),
    Kind.ROLLING: ("word_perplexity", "byte_perplexity", "bits_per_byte"),
    Kind.FILL: ("acc",),
    Kind.EMBED: ("info_nce",),
    Kind.TAG: ("seqeval_f1", "seqeval_precision", "seqeval_recall"),
    Kind.CLASSIFY: ("acc",),
}
"""Unless the declaration names others."""
WITHOUT_CHOICES: dict[Kind, tuple[str, ...]] = {Kind.FILL: ("pseudo_perplexity",), Kind.CLASSIFY: ("pearson", "spearman")}
"""Where there is nothing to choose between: a text as a whole, a regression."""
T = TypeVar("T")
_ONLY_FOR: dict[str, frozenset[Kind]] = {
    "prompt": frozenset(Kind) - {Kind.TAG},
    "prefix": frozenset(Kind) - {Kind.TAG, Kind.CLASSIFY},
    "words": frozenset({Kind.TAG}),
    "pair": frozenset({Kind.CLASSIFY}),
    "labels": frozenset({Kind.TAG, Kind.CLASSIFY}),
}
"""Keys that some kinds do not have."""
_Target = Callable[[Fields, tuple[str, ...]], tuple[int | None, tuple[str, ...]]]
_IDENTITY = {
    "kind", "words", "labels", "prompt", "pair", "choices", "target", "turns", "prefix", "description", "delimiter", "extract", "sample_id", "cluster",
}  # fmt: skip


def task_from_config(config: TaskConfig, folder: Path) -> Task:
    """Make a task of a declaration. Sampling overrides are not applied here: the run applies them to every task alike.

    Args:
        config: A task entry with `source`.
        folder: Where relative paths start: the folder of the configuration file.

    Raises:
        ConfigError: when a template, an extractor or a combination of keys is unusable.
    """
    if config.source is None or config.kind is None or (config.prompt is None and config.words is None):
        raise ConfigError(f"task '{config.name}': a declared task needs source, kind and prompt (words for kind tag).")
    kind = Kind(config.kind)
    where = f"task '{config.name}'"
    if kind not in (Kind.LOGLIKELIHOOD, Kind.FILL, Kind.EMBED) and config.choices is not None:
        raise ConfigError(f"{where}: choices: only for kinds loglikelihood, fill and embed, found kind {kind}.")
    if kind is not Kind.GENERATE and config.extract is not None:
        raise ConfigError(f"{where}: extract: only for kind generate, found kind {kind}.")
    if kind is not Kind.GENERATE and config.turns is not None:
        raise ConfigError(f"{where}: turns: only for kind generate, found kind {kind}.")
    if kind in (Kind.ROLLING, Kind.FILL, Kind.EMBED) and config.prefix is not None:
        raise ConfigError(f"{where}: prefix: a text whose likelihood is measured has no answer that could begin with one.")
    foreign = [name for name, kinds in _ONLY_FOR.items() if getattr(config, name) is not None and kind not in kinds]
    if foreign:
        raise ConfigError(f"{where}: {foreign[0]}: a '{kind}' task has no such key.")
    if kind is Kind.CLASSIFY and config.labels is not None and (len(config.labels) < 2 or len(set(config.labels)) < len(config.labels)):
        raise ConfigError(
            f"{where}: labels: found {', '.join(config.labels) or 'none'}. Expected two or more different names; none for a regression."
        )
    declaration = config.model_dump(mode="json", include=_IDENTITY)
    pool = _source(config.fewshot_source, folder) if config.fewshot_source else None
    prompt = _Prompt(
        prompt=text_template(config.prompt or "", f"{where}, template `prompt`"),
        words=None if config.words is None else _texts(config.words, f"{where}, template `words`"),
        pair=None if config.pair is None else text_template(config.pair, f"{where}, template `pair`"),
        turns=None if config.turns is None else _texts(config.turns, f"{where}, template `turns`"),
        prefix=None if config.prefix is None else text_template(config.prefix, f"{where}, template `prefix`"),
        kind=kind,
        where=where,
    )
    choices = None if config.choices is None else _texts(config.choices, f"{where}, template `choices`")
    if kind is Kind.CLASSIFY and config.labels:
        choices = partial(_always, names=config.labels)
    target = None if config.target is None else _target(config.target, where)
    if target is not None and kind is Kind.TAG and config.labels:
        target = _named(target, config.labels, where)
    form = Form(
        to_prompt=prompt,
        metrics=config.metrics or (METRICS if choices is not None else METRICS | WITHOUT_CHOICES)[kind],
        description=config.description,
        delimiter=config.delimiter,
        sampling=Sampling() if kind is Kind.GENERATE else None,
        extract=_extractors(config.extract, where),
        labels=config.labels or (),
    )
    return Task(
        name=config.name,
        version=digest(declaration)[:12],
        source=_source(config.source, folder),
        to_sample=_Sampler(choices=choices, target=target, prompt=prompt, config=config),
        forms={kind: form},
        fewshot=Fewshot(source=pool, sampler=config.fewshot or "seeded"),
        about="declared in the configuration",
    )


def _source(config: SourceConfig, folder: Path) -> Source:
    path = config.path
    if not path.startswith(("package://", "/", "~")) and ((folder / path).exists() or is_local(path)):
        path = str((folder / path).resolve())
    return Source(path=path, config=config.config, split=config.split, revision=config.revision, splits=config.splits)


def _always(fields: Fields, *, names: tuple[str, ...]) -> tuple[str, ...]:
    """The options of every row: the labels of a head."""
    return names


def _extractors(extract: str | dict[str, str] | None, where: str) -> Mapping[str, Extractor]:
    if extract is None:
        return {}
    named = {"": extract} if isinstance(extract, str) else extract
    try:
        return {name: get_extractor(function) for name, function in named.items()}
    except ConfigError as error:
        raise ConfigError(f"{where}: {error.message}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prompt:
    """Form.to_prompt of a declared task."""

    prompt: Text
    words: Callable[[Fields], tuple[str, ...]] | None
    pair: Text | None
    turns: Callable[[Fields], tuple[str, ...]] | None
    prefix: Text | None
    kind: Kind
    where: str

    def __call__(self, sample: Sample) -> Prompt:
        if self.words is not None:
            return Prompt(text="", words=_at(sample.id, self.words, sample.fields))
        text = _at(sample.id, self.prompt, sample.fields)
        if self.kind is Kind.CLASSIFY:
            return Prompt(text=text, pair=None if self.pair is None else _at(sample.id, self.pair, sample.fields))
        if self.kind is Kind.EMBED:
            return Prompt(text=text, contexts=(text, *sample.choices))
        prefix = "" if self.prefix is None else _at(sample.id, self.prefix, sample.fields)
        if self.kind in (Kind.LOGLIKELIHOOD, Kind.FILL):
            answer = None if sample.label is None else sample.choices[sample.label]
            return Prompt(text=text, answer=answer, continuations=sample.choices, prefix=prefix)
        turns = () if self.turns is None else _at(sample.id, self.turns, sample.fields)
        return Prompt(
            text=text, answer=sample.targets[0] if self.kind is Kind.GENERATE and sample.targets else None, turns=turns, prefix=prefix
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sampler:
    """Task.to_sample of a declared task."""

    choices: Callable[[Fields], tuple[str, ...]] | None
    target: _Target | None
    prompt: _Prompt
    config: TaskConfig

    def __call__(self, row: Mapping[str, Any], default_id: str) -> Sample:
        sample_id = default_id if self.config.sample_id is None else self._id(row, default_id)
        choices: tuple[str, ...] = () if self.choices is None else _at(sample_id, self.choices, row)
        label: int | None = None
        targets: tuple[str, ...] = ()
        if self.target is not None:
            target = self.target
            label, targets = _at(sample_id, lambda fields: target(fields, choices), row)
        elif self.prompt.kind is Kind.ROLLING:
            # words and bytes are counted on the text itself
            targets = (_at(sample_id, self.prompt.prompt, row),)
        cluster = None
        if self.config.cluster is not None:
            value = row[self.config.cluster]
            cluster = None if value is None else str(value)
        return Sample(id=sample_id, fields=row, choices=choices, label=label, targets=targets, cluster=cluster)

    def _id(self, row: Mapping[str, Any], default_id: str) -> str:
        """Text or a whole number; 1 and "1" are the same id."""
        value = row[str(self.config.sample_id)]
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise DataError(
                f"{self.prompt.where}, sample '{default_id}': sample_id: column '{self.config.sample_id}' is {value!r}; expected text or a whole number."
            )
        return str(value)


def _at(sample_id: str, function: Callable[[Fields], T], fields: Fields) -> T:
    """Call with the sample's id in the message of an error."""
    try:
        return function(fields)
    except DataError as error:
        raise DataError(f"sample '{sample_id}' of {error.message}") from error


def _texts(source: list[str] | str, where: str) -> Callable[[Fields], tuple[str, ...]]:
    """Fields to texts: a list of templates, or one expression whose value is a list."""
    if isinstance(source, list):
        templates = [text_template(t, where) for t in source]
        return lambda fields: tuple(t(fields) for t in templates)
    value = value_template(source, where)
    if value is None:
        raise ConfigError(f"{where}: '{source}' is not one expression. Expected a list of templates, or one such as '{{{{ choices }}}}'.")

    def options(fields: Fields) -> tuple[str, ...]:
        found = value(fields)
        if not isinstance(found, list | tuple) or not found or not all(isinstance(c, str | int | float) for c in found):
            raise DataError(f"{where}: expected a list of texts, found {str(found)[:80]!r}.")
        return tuple(map(str, found))

    return options


def _target(source: str, where: str) -> _Target:
    """Fields and options to the index of the right option, or to the right answers as text."""
    where = f"{where}, template `target`"
    value: Callable[[Fields], Any] = value_template(source, where) or text_template(source, where)

    def read(fields: Fields, choices: tuple[str, ...]) -> tuple[int | None, tuple[str, ...]]:
        found = value(fields)
        if not choices:
            if type(found) is str:
                return None, (found,)
            answers = found if isinstance(found, list | tuple) else [found]
            if not answers or not all(isinstance(a, str | int | float) for a in answers):
                raise DataError(f"{where}: expected a text or a list of texts, found {found!r}.")
            return None, tuple(map(str, answers))
        if isinstance(found, int):
            if not 0 <= found < len(choices):
                raise DataError(f"{where}: {found} is no index of {len(choices)} options; they count from 0.")
            return int(found), ()
        by_text = choices.index(found) if found in choices else None
        by_index = int(found) if isinstance(found, str) and found.isdecimal() and int(found) < len(choices) else None
        if by_text is None and by_index is None:
            raise DataError(f"{where}: {found!r} is neither an option nor the index of one. Options: {', '.join(map(repr, choices))}.")
        if by_text is not None and by_index is not None and by_text != by_index:
            raise DataError(
                f"{where}: '{found}' is an option and also the index of another. Write {{{{ field|int }}}} or {{{{ choices.index(field) }}}}."
            )
        return by_index if by_text is None else by_text, ()

    return read


def _named(target: _Target, labels: tuple[str, ...], where: str) -> _Target:
    """The tags by their names, where the data has numbers."""
    names = {str(i): name for i, name in enumerate(labels)} | {name: name for name in labels}

    def read(fields: Fields, choices: tuple[str, ...]) -> tuple[int | None, tuple[str, ...]]:
        _, tags = target(fields, choices)
        foreign = next((tag for tag in tags if tag not in names), None)
        if foreign is not None:
            raise DataError(f"{where}, template `target`: the tag {foreign!r} is none of the labels: {', '.join(labels)}.")
        return None, tuple(names[tag] for tag in tags)

    return read
