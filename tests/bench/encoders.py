"""Samples a second of encoders with heads, against a plain well-batched PyTorch loop over the same model, alternating in one run."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from raybench.core.checkpoint import Checkpoint
from raybench.core.outputs import Classification, Tags
from raybench.core.protocols import EngineSpec
from raybench.core.types import Kind, Request
from raybench.engines.registry import make_engine
from tests.tiny_models import LABELS, TAGS, label_names, make_checkpoint

THREADS = 2
COUNT = 128
SHARD = 128
BATCH = 32
ROUNDS = 3
MODEL = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
    "initializer_range": 0.02,
}
"""As MiniLM-L6 and Rampart."""


def texts() -> list[str]:
    """Of 2 to 40 words, 8 to 200 bytes, most of them short, as in GLUE."""
    draw = random.Random(0)
    words = ["a", "the", "film", "never", "quite", "good", "bad", "plot", "actor", "moves"]
    return [" ".join(draw.choices(words, k=2 + int(38 * draw.random() ** 2))) for _ in range(COUNT)]


def plain_classes(model: Any, tokenizer: Any, rows: list[str]) -> list[int]:
    """Length-sorted batches of 32, tokenized together, padded to the longest."""
    import torch

    found = [0] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    with torch.inference_mode():
        for start in range(0, len(rows), BATCH):
            members = order[start : start + BATCH]
            inputs = tokenizer([rows[i] for i in members], padding=True, return_tensors="pt")
            for i, best in zip(members, model(**inputs).logits.argmax(-1).tolist(), strict=True):
                found[i] = best
    return found


def plain_tags(model: Any, tokenizer: Any, rows: list[str]) -> list[tuple[str, ...]]:
    """The same for words, the first sub-word of each."""
    import torch

    found: list[tuple[str, ...]] = [()] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    with torch.inference_mode():
        for start in range(0, len(rows), BATCH):
            members = order[start : start + BATCH]
            inputs = tokenizer([rows[i].split() for i in members], is_split_into_words=True, padding=True, return_tensors="pt")
            best = model(**inputs).logits.argmax(-1).tolist()
            for b, i in enumerate(members):
                ids = inputs.word_ids(b)
                found[i] = tuple(TAGS[best[b][k]] for k, w in enumerate(ids) if w is not None and w != (ids[k - 1] if k else None))
    return found


def requests(kind: Kind, rows: list[str]) -> list[Request]:
    if kind is Kind.CLASSIFY:
        return [Request(sample_id=str(i), kind=kind, prompt=t, labels=LABELS) for i, t in enumerate(rows)]
    return [Request(sample_id=str(i), kind=kind, words=tuple(t.split()), labels=TAGS) for i, t in enumerate(rows)]


def measure(kind: Kind, auto: str, names: tuple[str, ...], plain: Any) -> None:
    import torch
    import transformers

    rows = texts()
    with tempfile.TemporaryDirectory() as name:
        folder = make_checkpoint(Path(name), "bert", auto, **MODEL, **label_names(names))
        checkpoint = Checkpoint(uri=name, path=name, identity="bench")
        engine = make_engine(EngineSpec(kind="pytorch", checkpoint=checkpoint, options={"threads": THREADS}))
        model = getattr(transformers, auto).from_pretrained(folder).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    torch.set_num_threads(THREADS)
    asked = requests(kind, rows)
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    for round_number in range(ROUNDS + 1):  # the first one warms up
        begin = time.perf_counter()
        expected = plain(model, tokenizer, rows)
        between = time.perf_counter()
        answers = [a for start in range(0, COUNT, SHARD) for a in engine.run(asked[start : start + SHARD])]
        end = time.perf_counter()
        if round_number:
            seconds["plain"].append(between - begin)
            seconds["ours"].append(end - between)
    found = [
        a.output.labels
        if isinstance(a.output, Tags)
        else names.index(a.output.label or "")
        if isinstance(a.output, Classification)
        else None
        for a in answers
    ]
    same = sum(a == b for a, b in zip(expected, found, strict=True))
    rates = {who: COUNT / statistics.median(times) for who, times in seconds.items()}
    print(
        f"{kind}: plain loop in sorted batches of {BATCH} {rates['plain']:.0f} samples/s, engine in shards of {SHARD} {rates['ours']:.0f} samples/s, "
        f"ratio {rates['ours'] / rates['plain']:.2f}; {same} of {COUNT} answers equal; {THREADS} threads, medians of {ROUNDS}"
    )


def main() -> None:
    measure(Kind.CLASSIFY, "AutoModelForSequenceClassification", LABELS, plain_classes)
    measure(Kind.TAG, "AutoModelForTokenClassification", TAGS, plain_tags)
    print("aim: at least 0.9 of the plain loop")
