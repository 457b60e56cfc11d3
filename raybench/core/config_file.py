"""A configuration from YAML or plain data; all mistakes are reported together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from raybench.core.config import ResourcesConfig, RunConfig
from raybench.core.engine_config import engine_config, merge
from raybench.core.errors import ConfigError
from raybench.core.mistakes import Loc, Places, first_word, mistakes_of, placed

MAX_BYTES = 1_000_000
"""Largest configuration file that is read."""


def load(path: str | Path, settings: Sequence[str] = ()) -> RunConfig:
    """Read a YAML configuration.

    Args:
        path: The file.
        settings: `path=value` overrides; the value is YAML: `engine.dtype=bfloat16`, `tasks.0.shots=5`.

    Raises:
        ConfigError: with all mistakes of the file, each with its line.
    """
    file = Path(path)
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}. Expected a YAML file with a run configuration.") from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{file}: {len(raw)} bytes; a configuration has at most {MAX_BYTES}.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 at byte {error.start}. Save it as UTF-8.") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{file}{where}: not a usable YAML file: {getattr(error, 'problem', None) or error}.") from error
    except (ValueError, TypeError, RecursionError) as error:  # a date that is none, a list as a key, a thousand brackets
        raise ConfigError(f"{file}: not a usable YAML file: {error}.") from error
    if not isinstance(value, dict):
        found = "nothing" if value is None else "a list" if isinstance(value, list) else f"'{str(value)[:60]}'"
        raise ConfigError(f"{file}: expected a mapping with name, models and tasks, found {found}.")
    places = Places(node, tuple(setting.partition("=")[0].split(".") for setting in settings))
    return parse(override(value, settings), where=str(file), places=places)


def parse(value: Mapping[str, Any], *, where: str = "configuration", places: Places | None = None) -> RunConfig:
    """A configuration from plain data; every mistake in one ConfigError, with its place in `places`."""
    places = places or Places()
    mistakes: list[str] = []
    try:
        config = RunConfig.model_validate(value)
    except ValidationError as error:
        mistakes += mistakes_of(error, RunConfig, places)
        config = None
    mistakes += _block_mistakes(value, places)
    if mistakes or config is None:
        unique = list(dict.fromkeys(mistakes))
        head = f"{where}: {len(unique)} mistake{'s' if len(unique) > 1 else ''}"
        raise ConfigError(head + "".join(f"\n  {m}" for m in unique))
    return config


def override(value: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """`value` with `path=value` settings applied; lists are indexed by number."""
    result = yaml.safe_load(yaml.safe_dump(dict(value)))
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise ConfigError(f"--set '{setting}': expected path=value, such as engine.dtype=bfloat16.")
        *parents, last = path.split(".")
        target = result
        for name in parents:
            if isinstance(target, list):
                target = _item(target, name, setting)
            elif isinstance(target, dict):
                if target.get(name) is None:
                    target[name] = {}
                target = target[name]
            else:
                raise ConfigError(f"--set '{setting}': '{name}' lies inside a plain value.")
        try:
            parsed = yaml.safe_load(text) if text else None
        except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
            raise ConfigError(
                f"--set '{setting}': what stands behind the '=' is no YAML value; put it in quotes to have it as text."
            ) from error
        if isinstance(target, list):
            _item(target, last, setting)
            target[int(last)] = parsed
        elif isinstance(target, dict):
            target[last] = parsed
        else:
            raise ConfigError(f"--set '{setting}': '{last}' lies inside a plain value; write the entry as a mapping in the file.")
    return dict(result)


def _item(target: list[Any], name: str, setting: str) -> Any:
    if not name.isdigit() or int(name) >= len(target):
        raise ConfigError(f"--set '{setting}': '{name}' is no index of a list of {len(target)}.")
    return target[int(name)]


def _block_mistakes(value: Mapping[str, Any], places: Places) -> Iterator[str]:
    """Mistakes in the engine blocks of every (model, task) combination, and in the resource blocks of models and tasks."""

    def blocks(key: str, name: str) -> list[tuple[Loc, Mapping[str, Any]]]:
        entries = value.get(key)
        return [
            ((key, i, name), e[name])
            for i, e in enumerate(entries if isinstance(entries, list | tuple) else [])
            if isinstance(e, dict) and isinstance(e.get(name), dict)
        ]

    base = value.get("engine") or {}
    if isinstance(base, dict):
        none: tuple[Loc, Mapping[str, Any]] = ("engine",), {}
        for model_loc, model in [none, *blocks("models", "engine")]:
            for task_loc, task in [none, *blocks("tasks", "engine")]:
                try:
                    engine_config(merge(base, model, task))
                except ConfigError as error:
                    for line in error.message.splitlines():
                        text = line.removeprefix("engine.")
                        said = [loc for loc, block in ((task_loc, task), (model_loc, model)) if first_word(text) in block]
                        yield placed(text, said[0] if said else ("engine",), places)
    for loc, block in [*blocks("models", "resources"), *blocks("tasks", "resources")]:
        try:
            ResourcesConfig.model_validate(block)
        except ValidationError as error:
            yield from (placed(text, loc, places) for text in mistakes_of(error, ResourcesConfig))


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses duplicate keys and aliases (an alias can blow a small file up)."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]  # types-PyYAML
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not allowed; write the value out", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key '{key.value}' stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)
