"""CLUE's tasks on real rows, in both forms."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from raybench.core.task_config import DataConfig
from raybench.core.types import Kind
from raybench.tasks.clue import marked, spans_of
from raybench.tasks.prompts import render
from raybench.tasks.registry import get_task

# rows of the copies, and how many have each label: counted from the files of their sources
REAL = {
    "afqmc": [2978, 1338],
    "cmnli": [3926, 4277, 4038],
    "tnews": [215, 736, 910, 767, 956, 378, 791, 646, 1089, 716, 693, 905, 45, 494, 659],
    "cluewsc": [488, 488],
    "chnsenticorp": [607, 593],
}
WSC = {"text": "小明见到小红时她笑了", "label": 0, "target": {"span1_text": "小红", "span1_index": 4, "span2_text": "她", "span2_index": 7}}
"""A row in the hub's shape."""


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("kind", [Kind.CLASSIFY, Kind.LOGLIKELIHOOD])
def test_every_row_is_asked_in_both_forms(name, kind, data):
    shards = list(render(get_task(name), kind, data=data).shards())

    samples = [row for shard in shards for row in shard.samples.to_pylist()]
    requests = [row for shard in shards for row in shard.requests.to_pylist()]
    labels = Counter(s["label"] for s in samples)
    assert [labels[i] for i in range(len(labels))] == REAL[name]
    assert all(len(s["choices"]) == len(REAL[name]) for s in samples)
    if kind is Kind.LOGLIKELIHOOD:
        assert all(len(r["continuations"]) == len(REAL[name]) for r in requests)


def test_topics_are_named_as_the_data_describes_them(data):
    samples = [row for shard in render(get_task("tnews"), Kind.CLASSIFY, data=data).shards() for row in shard.samples.to_pylist()]

    assert all(s["choices"][s["label"]] == json.loads(s["fields"])["label_desc"] for s in samples)


def test_inference_has_the_hub_s_order_of_labels(write_rows):
    # huggingface/datasets, datasets/clue/clue.py: neutral, entailment, contradiction
    folder = write_rows([{"sentence1": "他睡着了", "sentence2": "他醒着", "label": 2, "id": 0}], "validation.jsonl").parent

    shard = next(render(get_task("ocnli"), Kind.LOGLIKELIHOOD, data={"clue/clue:ocnli": DataConfig(path=str(folder))}).shards())

    assert shard.samples.to_pylist()[0]["choices"][2] == "contradiction"
    assert shard.requests.to_pylist()[0]["continuations"][2] == "不对"


def test_places_are_marked_where_they_are(data, write_rows):
    samples = [row for shard in render(get_task("cluewsc"), Kind.CLASSIFY, data=data).shards() for row in shard.samples.to_pylist()]
    rows = [json.loads(s["fields"]) for s in samples]

    assert marked(WSC) == "小明见到_小红_时[她]笑了"
    for row in rows:
        assert f"[{row['span2_text']}]" in marked(row)
        assert f"_{row['span1_text']}_" in marked(row)
    assert spans_of(WSC)["span2_text"] == "她"


def test_an_idiom_is_chosen_for_its_gap(data):
    for kind in (Kind.FILL, Kind.LOGLIKELIHOOD):
        shards = list(render(get_task("chid"), kind, data=data).shards())
        samples = [row for shard in shards for row in shard.samples.to_pylist()]
        requests = [row for shard in shards for row in shard.requests.to_pylist()]
        assert len(samples) == 2002
        for sample, request in zip(samples, requests, strict=True):
            row = json.loads(sample["fields"])
            whole = row["content"].replace("#idiom#", row["candidates"][row["answer"]])
            right = request["continuations"][sample["label"]]
            assert whole == (request["prompt"].replace("[MASK]", right) if kind is Kind.FILL else request["prompt"] + right)
