"""How an answer is found in a generated text: small functions by name. None where there is no answer.

Texts come from models and are hostile until proven otherwise: every pattern here runs in linear time, and only the first or last
`MAX_CHARACTERS` of a text are looked at.
"""

from __future__ import annotations

import re

from raybench.core.errors import ConfigError
from raybench.core.mistakes import suggest
from raybench.tasks.task import Extractor

MAX_CHARACTERS = 100_000

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?|-?\.\d+")
_STATED_LETTER = re.compile(r"(?i:answer)(?:\s{0,3}is|\s{0,3}:){0,2}\s{0,3}[\(\[*]{0,3}([A-D])\b(?!['’])")
_LEADING_LETTER = re.compile(r"\s{0,100}[\(\[*]{0,3}([A-D])(?=[\)\]*.:,\n]|\s{0,100}$)")  # not the article: `A bird ...`
_LONE_LETTER = re.compile(r"[\(\[]([A-D])[\)\]]|\b([A-D])(?=[.):])")
# lm-eval 0.4.13, tasks/gsm8k/gsm8k.yaml, filters strict-match and flexible-extract
_GSM8K_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_GSM8K_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")


def last_number(text: str) -> str | None:
    """The last number, without thousands separators: `It is 1,650.` gives `1650`."""
    found = _NUMBER.findall(text[-MAX_CHARACTERS:])
    return found[-1].replace(",", "") if found else None


def first_line(text: str) -> str | None:
    """The first line that is not blank, without spaces around it."""
    return next((line.strip() for line in text[:MAX_CHARACTERS].split("\n") if line.strip()), None)


def first_word(text: str) -> str | None:
    """The first word, without punctuation around it."""
    return next((word for raw in text[:MAX_CHARACTERS].split() if (word := raw.strip(".,;:!?\"'()[]{}*`"))), None)


def letter(text: str) -> str | None:
    """One of A to D: the last one after the word `answer`, otherwise one that the text begins with, otherwise the first like `(B)` or `B.`."""
    text = text[-MAX_CHARACTERS:]
    if stated := _STATED_LETTER.findall(text):
        return str(stated[-1])
    if leading := _LEADING_LETTER.match(text):
        return leading[1]
    lone = _LONE_LETTER.search(text)
    return (lone[1] or lone[2]) if lone else None


def boxed(text: str) -> str | None:
    r"""What stands in the last `\boxed{...}`, braces balanced."""
    text = text[-MAX_CHARACTERS:]
    start = text.rfind(r"\boxed{")
    if start < 0:
        return None
    depth = 0
    for i in range(start + len(r"\boxed"), len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return text[start + len(r"\boxed{") : i].strip()
    return None


def gsm8k_strict(text: str) -> str | None:
    """The first number after `#### `, as lm-eval's strict-match."""
    found = _GSM8K_STRICT.search(text[:MAX_CHARACTERS])
    return found[1].strip() if found else None


def gsm8k_flexible(text: str) -> str | None:
    """The last thing that looks like a number or a price, as lm-eval's flexible-extract."""
    found = _GSM8K_FLEXIBLE.findall(text[-MAX_CHARACTERS:])
    return str(found[-1][0] or found[-1][1]).strip() if found else None


_EXTRACTORS: dict[str, Extractor] = {
    f.__name__: f for f in (last_number, first_line, first_word, letter, boxed, gsm8k_strict, gsm8k_flexible)
}


def extractor_names() -> tuple[str, ...]:
    """Names for `extract:` in a configuration; besides them there is `regex:PATTERN`."""
    return tuple(sorted(_EXTRACTORS))


def get_extractor(name: str) -> Extractor:
    """The extractor of a name, or of `regex:PATTERN`: the first match, of it the first group that took part, if it has groups.

    Raises:
        ConfigError: for an unknown name or a pattern that is none.
    """
    if name.startswith("regex:"):
        return _regex_extractor(name.removeprefix("regex:"))
    if name not in _EXTRACTORS:
        raise ConfigError(
            f"'{name}' is no extractor.{suggest(name, _EXTRACTORS)} Known: {', '.join(extractor_names())}; or write regex:PATTERN."
        )
    return _EXTRACTORS[name]


def _regex_extractor(source: str) -> Extractor:
    try:
        pattern = re.compile(source)
    except re.error as error:
        raise ConfigError(f"extract: 'regex:{source}' is no regular expression: {error}.") from error

    def extract(text: str) -> str | None:
        found = pattern.search(text[:MAX_CHARACTERS])
        if found is None:
            return None
        groups = [g for g in found.groups() if g is not None]
        return (groups[0] if groups else found[0]).strip()

    return extract
