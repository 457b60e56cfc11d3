"""Text of models and data sets made harmless: nothing in it can move a cursor, change a colour or reverse a line."""

from __future__ import annotations

import re
import unicodedata

# ECMA-48: CSI (with its parameters), strings such as OSC up to their terminator, two-byte escapes; each in its 7-bit and 8-bit form.
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f]).*?(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]",
    re.DOTALL,
)
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Controls, format characters (bidirectional overrides), lone surrogates, line and paragraph separators."""


def plain(text: str) -> str:
    """`text` on one line, without escape sequences, control and format characters; lone surrogates become U+FFFD."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_harmless(character) for character in _ESCAPE.sub("", text))


def is_unsafe(character: str) -> bool:
    """Whether a terminal or a text file may take `character` for more than a glyph."""
    return unicodedata.category(character) in _UNSAFE_CATEGORIES


def _harmless(character: str) -> str:
    if not is_unsafe(character):
        return character
    if character in "\n\r\t\v\f\x85\u2028\u2029":
        return " "
    return "\ufffd" if unicodedata.category(character) == "Cs" else ""
