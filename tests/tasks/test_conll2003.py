"""CoNLL-2003 on real rows."""

from __future__ import annotations

from collections import Counter

from raybench.core.types import Kind
from raybench.tasks.conll2003 import TASK
from raybench.tasks.prompts import render


def test_the_test_set_has_its_published_entities(data):
    shards = list(render(TASK, Kind.TAG, data=data).shards())

    samples = [row for shard in shards for row in shard.samples.to_pylist()]
    requests = [row for shard in shards for row in shard.requests.to_pylist()]
    begins = Counter(tag[2:] for s in samples for tag in s["targets"] if tag.startswith("B-"))
    assert all(len(s["targets"]) == len(r["words"]) for s, r in zip(samples, requests, strict=True))
    # Tjong Kim Sang and De Meulder 2003, tables 1 and 2: 46,435 tokens, 1,668 places, 702 others, 1,661 organisations, 1,617 persons
    assert sum(len(r["words"]) for r in requests) == 46435
    assert begins == {"LOC": 1668, "MISC": 702, "ORG": 1661, "PER": 1617}
