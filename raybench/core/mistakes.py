"""Mistakes of a configuration in words: where, on which line, what was found, what was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

Loc = Sequence[int | str]
"""Where something stands in a configuration: keys and indices from the top."""


class Strict(BaseModel):
    """A block of a configuration: no unknown keys, not changed once made, fields described by their docstrings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the fields of a configuration were written down."""

    node: yaml.Node | None = None
    """Of the file, if there is one."""
    settings: tuple[Loc, ...] = ()
    """Fields that the command line overrides, as they are written there: all parts are text."""

    def before(self, loc: Loc) -> str:
        """What a mistake at `loc` begins with: `line 3: `, `command line: `, or nothing where it is unknown."""
        parts = [str(part) for part in loc]
        if any(parts[: len(setting)] == list(setting) for setting in self.settings):
            return "command line: "
        line = _line_of(self.node, loc)
        return "" if line is None else f"line {line}: "


def suggest(name: str, known: Any) -> str:
    """' Did you mean ...?' where a known name is close, otherwise nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def placed(text: str, loc: Loc, places: Places) -> str:
    """A mistake in a field of the block at `loc`, with its place and whole path; `text` begins with the field."""
    return f"{places.before((*loc, first_word(text)))}{dotted(loc)}.{text}"


def first_word(text: str) -> str:
    """The field that a mistake begins with."""
    return re.split(r"\W", text, maxsplit=1)[0]


def dotted(loc: Loc) -> str:
    """`tasks[0].shots`."""
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in loc).lstrip(".")


def mistakes_of(error: ValidationError, model: type[BaseModel], places: Places | None = None) -> list[str]:
    """One sentence a mistake that pydantic found, each with its place where that is known."""
    lines = []
    for item in error.errors():
        loc = item["loc"]
        if item["type"] == "too_short" and item["input"]:
            continue  # the entries that are there have mistakes, which are told
        path = dotted(loc)
        where = "" if places is None else places.before(loc)
        if item["type"] == "extra_forbidden":
            owner = _owner(model, loc[:-1])
            known = list(owner.model_fields) if owner else []
            lines.append(f"{where}{path}: unknown key.{suggest(str(loc[-1]), known)} Known: {', '.join(known)}.")
        elif item["type"] == "too_short":
            lines.append(f"{where}{path}: empty, expected at least one.")
        elif item["type"] == "missing":
            lines.append(f"{where}{path}: missing.")
        else:
            message = item["msg"].removeprefix("Value error, ")
            found = repr(item["input"])
            shown = "" if isinstance(item["input"], dict) else f", found {found[:60]}{'...' if len(found) > 60 else ''}"
            lines.append(f"{where}{path or 'configuration'}: {message}{shown}.")
    return lines


def _owner(model: type[BaseModel], loc: Sequence[int | str]) -> type[BaseModel] | None:
    """The configuration class that the path `loc` lies in."""
    current: Any = model
    is_mapping = False
    for part in loc:
        if isinstance(part, int):
            continue
        if is_mapping:  # the part is a key of the user's own, such as a data set under `data`
            is_mapping = False
            continue
        field = current.model_fields.get(part) if current is not None else None
        current = _class_in(field.annotation) if field else None
        is_mapping = field is not None and get_origin(field.annotation) is dict
    return current if isinstance(current, type) else None


def _class_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _class_in(argument)
        if found is not None:
            return found
    return None


def _line_of(node: yaml.Node | None, loc: Sequence[int | str]) -> int | None:
    """Line (from 1) of the deepest node on the path `loc`."""
    if node is None:
        return None
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            hit = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if hit is None:
                break
            key, node = hit
            line = key.start_mark.line + 1
            if part == loc[-1]:
                return int(line)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
        else:
            break
    return int(node.start_mark.line + 1)
