"""Jinja templates of declared tasks: sandboxed, compiled once, with a limit on what they give. Fields of a row are values, never templates.

The sandbox keeps a template away from Python's insides. Loops without end are not stopped: a configuration is written by whoever
starts the run; what must be harmless are the rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Any

from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined, nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from raybench.core.errors import ConfigError, DataError
from raybench.tasks.corrupt import FILTERS

MAX_CHARACTERS = 1_000_000
"""Longest text that a template may give."""
_GROWING = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs", "format", "format_map"})
"""Methods and filters that make a short text long."""
_OURS = ("row", "range")
"""Names that mean something in a template although no column has them."""
_ONE_EXPRESSION = re.compile(r"\s*\{\{-?(.*?)-?\}\}\s*", re.DOTALL)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Refuses operators and methods that make huge values of small ones; without anything random."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            for sequence, times in ((left, right), (right, left)):
                if isinstance(sequence, str | list | tuple) and isinstance(times, int) and len(sequence) * times > MAX_CHARACTERS:
                    raise SecurityError(f"a sequence of {len(sequence)} times {times} is too long")
        elif operator == "**" or isinstance(left, str):
            raise SecurityError(f"the operator {operator} is not available")
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> None:
        """No exception for `format`: a width such as `{:999999999}` is all it takes."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return not (isinstance(obj, str) and attr in _GROWING) and super().is_safe_attribute(obj, attr, value)


def _refuse_none(value: Any) -> Any:
    """A null field would stand in the prompt as the word None."""
    if value is None:
        raise DataError("an expression is null; write {{ field or '' }} if that is meant")
    return value


@lru_cache(maxsize=1)
def _sandbox() -> _Sandbox:
    # a trailing line break is kept, as in lm-eval 0.4.13 (utils.py)
    env = _Sandbox(undefined=StrictUndefined, keep_trailing_newline=True, finalize=_refuse_none, autoescape=False)
    env.globals = {"range": env.globals["range"]}
    for name in (*_GROWING, "indent", "pprint", "random", "urlize", "wordwrap", "xmlattr"):
        env.filters.pop(name, None)
    env.filters |= FILTERS
    return env


Fields = Mapping[str, Any]
Text = Callable[[Fields], str]


def text_template(source: str, where: str) -> Text:
    """Compile a template that gives text.

    Args:
        source: The template; names are the row's columns, `row` is the row as a whole.
        where: For messages: task and key of the configuration.

    Returns:
        Fields -> text; raises DataError for a missing or null field, a refused operation or a text over `MAX_CHARACTERS`.

    Raises:
        ConfigError: when the source is no template.
    """
    env = _sandbox()
    parts = _simple_parts(_parse(source, where))
    if parts is not None:
        return _simple(parts, where)
    try:
        template = env.from_string(source)
    except (TemplateError, RecursionError) as error:
        raise ConfigError(f"{where}: not a usable template: {error}.") from error
    run, new_context = template.root_render_func, template.new_context

    def render(fields: Fields) -> str:
        pieces, size = [], 0
        try:
            for piece in run(new_context({"row": fields, **fields})):
                size += len(piece)
                if size > MAX_CHARACTERS:
                    raise SecurityError(f"the text is longer than {MAX_CHARACTERS} characters")
                pieces.append(piece)
        except Exception as error:
            raise _fault(error, where, fields) from error
        return "".join(pieces)

    return render


def value_template(source: str, where: str) -> Callable[[Fields], Any] | None:
    """The value of a source that is one expression, such as `{{ choices.text }}`, as it is and not as text; None for any other source."""
    body = _parse(source.strip(), where).body
    match = _ONE_EXPRESSION.fullmatch(source)
    is_one = (
        len(body) == 1
        and isinstance(body[0], nodes.Output)
        and len(body[0].nodes) == 1
        and not isinstance(body[0].nodes[0], nodes.TemplateData)
    )
    if match is None or not is_one:
        return None
    field = body[0].nodes[0]  # type: ignore[attr-defined]  # an Output, as was checked
    if isinstance(field, nodes.Name) and field.name not in _OURS:
        return _plain_field(field.name, where)
    try:
        expression = _sandbox().compile_expression(match[1], undefined_to_none=False)
    except TemplateError as error:
        raise ConfigError(f"{where}: not a usable expression: {error}.") from error

    def evaluate(fields: Fields) -> Any:
        try:
            value = expression({"row": fields, **fields})
            if isinstance(value, Undefined):
                str(value)  # StrictUndefined says which name it was
        except Exception as error:
            raise _fault(error, where, fields) from error
        return value

    return evaluate


def _plain_field(name: str, where: str) -> Callable[[Fields], Any]:
    def get(fields: Fields) -> Any:
        try:
            return fields[name]
        except KeyError as error:
            raise _missing(name, where, fields) from error

    return get


def _missing(name: str, where: str, fields: Fields) -> DataError:
    return DataError(f"{where}: there is no field '{name}'. The row has: {', '.join(fields)}.")


def _parse(source: str, where: str) -> nodes.Template:
    try:
        return _sandbox().parse(source)
    except TemplateSyntaxError as error:
        raise ConfigError(f"{where}: not a Jinja template: {error.message} (line {error.lineno} of the template).") from error


def _simple_parts(template: nodes.Template) -> list[tuple[str, bool]] | None:
    """The (text, is a field's name) parts of a template of nothing but text and plain names; None for any other."""
    parts: list[tuple[str, bool]] = []
    for node in template.body:
        if not isinstance(node, nodes.Output):
            return None
        for piece in node.nodes:
            if isinstance(piece, nodes.TemplateData):
                parts.append((piece.data, False))
            elif isinstance(piece, nodes.Name) and piece.name not in _OURS:
                parts.append((piece.name, True))
            else:
                return None
    return parts


def _simple(parts: list[tuple[str, bool]], where: str) -> Text:
    """What Jinja gives for such a template, about ten times as fast."""
    pattern = "".join("%s" if is_name else text.replace("%", "%%") for text, is_name in parts)
    names = [text for text, is_name in parts if is_name]
    if not names:
        constant = "".join(text for text, _ in parts)
        return lambda fields: constant
    get = itemgetter(*names) if len(names) > 1 else itemgetter(names[0], names[0])
    first_only = len(names) == 1

    def render(fields: Fields) -> str:
        try:
            values = get(fields)
        except KeyError as error:
            raise _missing(error.args[0], where, fields) from error
        for value in values:
            if value is None:
                name = names[values.index(None)]
                raise DataError(f"{where}: the field '{name}' is null; write {{{{ {name} or '' }}}} if that is meant.")
        text: str = pattern % (values[:1] if first_only else values)
        if len(text) > MAX_CHARACTERS:
            raise DataError(f"{where}: the text is longer than {MAX_CHARACTERS} characters.")
        return text

    return render


def _fault(error: Exception, where: str, fields: Fields) -> DataError:
    if isinstance(error, SecurityError):
        return DataError(f"{where}: the template was refused: {error}.")
    reason = error.message if isinstance(error, DataError) else str(error) or type(error).__name__
    return DataError(f"{where}: {reason}. The row has: {', '.join(fields)}.")
