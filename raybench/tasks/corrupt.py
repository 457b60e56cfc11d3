"""Texts with spans of words taken out, and what was taken out: what encoder-decoders learn to restore before they learn anything else.

Spans are drawn as T5 draws them, over words instead of tokens, since prompts are made before a tokenizer is known: round(share x words) words, in spans
of 3 on average, kept and taken spans in turn, cut at places that are equally likely (Raffel et al. 2020, section 3.1.4; random_spans_noise_mask in
t5/data/preprocessors.py). Which ones follows from the text alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from raybench.core.errors import DataError
from raybench.core.fingerprint import seed_for

MOST_SENTINELS = 100
"""`<extra_id_0>` to `<extra_id_99>`: what T5's vocabulary has."""
_SPAN = 3.0


def t5_corrupted(text: str) -> str:
    """What T5 reads: 15 % of the words taken out, `<extra_id_0>`, `<extra_id_1>`, ... in their places."""
    return " ".join(f"{kept} <extra_id_{i}>" for i, (kept, _) in enumerate(_sentinels(text)))


def t5_spans(text: str) -> str:
    """What T5 is to write: the spans that `t5_corrupted` took out, each behind its sentinel."""
    return " ".join(f"<extra_id_{i}> {taken}" for i, (_, taken) in enumerate(_sentinels(text)))


def infilled(text: str, mask: str = "<mask>") -> str:
    """What BART reads: 30 % of the words taken out, one mask for each span; it is to write the whole text (Lewis et al. 2020, section 2.2).

    All spans have words; BART's own lengths are Poisson and may be 0.
    """
    return " ".join(f"{kept} {mask}" for kept, _ in spans(text, share=0.3))


def spans(text: str, *, share: float) -> list[tuple[str, str]]:
    """Kept and taken words in turn; joined by spaces they are the text.

    Raises:
        DataError: when there are fewer than two words: one is kept, one taken.
    """
    words = text.split()
    if len(words) < 2:
        raise DataError(f"a text of {len(words)} words cannot lose some and keep some; expected at least 2 words: {text[:40]!r}")
    num_taken = min(max(round(share * len(words)), 1), len(words) - 1)
    num_spans = min(max(round(num_taken / _SPAN), 1), len(words) - num_taken)
    kept, taken = (_lengths(n, num_spans, text, what) for n, what in ((len(words) - num_taken, "kept"), (num_taken, "taken")))
    found, start = [], 0
    for num_kept, num in zip(kept, taken, strict=True):
        middle = start + num_kept
        found.append((" ".join(words[start:middle]), " ".join(words[middle : middle + num])))
        start = middle + num
    return found


def _sentinels(text: str) -> list[tuple[str, str]]:
    found = spans(text, share=0.15)
    if len(found) > MOST_SENTINELS:
        raise DataError(
            f"a text with {len(found)} spans to take out needs more than T5's {MOST_SENTINELS} sentinels: {text[:40]!r}. Cut it up."
        )
    return found


def _lengths(total: int, num_parts: int, text: str, purpose: str) -> list[int]:
    """`total` as a sum of `num_parts` numbers from 1; all such sums are equally likely."""
    cuts = sorted(sorted(range(1, total), key=lambda k: seed_for(0, "", text, k, purpose))[: num_parts - 1])
    return [b - a for a, b in zip([0, *cuts], [*cuts, total], strict=True)]


FILTERS: Mapping[str, Callable[..., str]] = {"t5_corrupted": t5_corrupted, "t5_spans": t5_spans, "infilled": infilled}
"""Names in templates."""
