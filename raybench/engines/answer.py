"""From generated text to an answer: the reasoning before it split off, cut at stop strings. Follows lm-evaluation-harness 0.4.13."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def split_reasoning(text: str, think_end: str | None) -> tuple[str | None, str]:
    """The trace and the answer behind its last end (lm_eval models/utils.py, postprocess_generated_text).

    Args:
        text: What was generated.
        think_end: What ends a trace; None: nothing is split.

    Returns:
        The trace without its end, None where no end came: then all of the text is the answer.
    """
    if not think_end or think_end not in text:
        return None, text.lstrip() if think_end else text
    trace, _, answer = text.rpartition(think_end)
    return trace, answer.lstrip()


def cut(text: str, stops: Sequence[str]) -> str:
    """The text before each stop string in turn (lm_eval models/utils.py, postprocess_generated_text)."""
    for stop in stops:
        if stop:
            text = text.split(stop)[0]
    return text


def stop_window(stops: Sequence[str]) -> int:
    """Tokens at the end of an answer that can hold a stop string that was just completed: a token has at least one byte. 0: no stops."""
    return max((len(s.encode()) for s in stops if s), default=-2) + 2


class AnswerReader:
    """Reads answers out of tokens."""

    def __init__(self, tokenizer: Any, think_end: str | None = None) -> None:
        """Take the tokenizer, and what ends a reasoning trace.

        Args:
            tokenizer: Of the checkpoint.
            think_end: Text or special token; None: there is no trace.
        """
        self._tokenizer = tokenizer
        self.think_end = think_end
        self._think_id: int | None = None
        if think_end is not None and think_end in tokenizer.all_special_tokens:
            self._think_id = int(tokenizer.convert_tokens_to_ids(think_end))

    def decode(self, tokens: Sequence[int], *, skip: bool) -> str:
        """Text of tokens.

        Args:
            tokens: Ids.
            skip: Leave special tokens out.
        """
        return str(self._tokenizer.decode(tokens, skip_special_tokens=skip))

    def read(self, tokens: Sequence[int], stops: Sequence[str], *, is_stopped: bool) -> tuple[str | None, str]:
        """Reasoning (None where there is none) and answer.

        Args:
            tokens: What was generated, without the end token.
            stops: Stop strings; they count behind the reasoning only.
            is_stopped: Whether a stop string or the end token came; then a stop string may be a special token.
        """
        reasoning: str | None = None
        if self._think_id is not None and self._think_id in tokens:
            last = len(tokens) - 1 - list(tokens)[::-1].index(self._think_id)
            reasoning, tokens = self.decode(tokens[:last], skip=True), tokens[last + 1 :]
            whole = self.decode(tokens, skip=True).lstrip()
        else:
            reasoning, whole = split_reasoning(self.decode(tokens, skip=True), self.think_end)
        answer = cut(whole, stops)
        if answer == whole and is_stopped and any(stops) and reasoning is None:
            # a stop string that is a special token is seen only with special tokens kept: the tokens before it are the answer
            kept = len(cut(self.decode(tokens, skip=False), stops))
            num_kept = len(tokens)
            while num_kept and len(self.decode(tokens[:num_kept], skip=False)) > kept:
                num_kept -= 1
            shown = self.decode(tokens[:num_kept], skip=True)
            return None, shown.lstrip() if self.think_end else shown
        return reasoning, answer
