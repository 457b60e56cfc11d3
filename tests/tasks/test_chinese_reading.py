"""DRCD on real rows, and CMRC 2018 in the same shape (huggingface/datasets, datasets/clue/clue.py)."""

from __future__ import annotations

from raybench.core.task_config import DataConfig
from raybench.core.types import Kind
from raybench.tasks.prompts import render
from raybench.tasks.registry import get_task


def test_every_question_of_drcd_has_its_answer_in_the_paragraph(data):
    shards = list(render(get_task("drcd"), Kind.SPAN, data=data).shards())

    rows = [(s, r) for shard in shards for s, r in zip(shard.samples.to_pylist(), shard.requests.to_pylist(), strict=True)]
    assert len(rows) == 3524
    assert all(set(s["targets"]) and all(t in r["pair"] for t in s["targets"]) for s, r in rows)


def test_a_prompted_model_gets_paragraph_and_question(write_rows, asked):
    row = {
        "id": "T-1",
        "context": "北京是首都。",
        "question": "首都在哪？",
        "answers": {"text": ["北京", "北京", "北京是"], "answer_start": [0, 0, 0]},
    }
    example = {"id": "E-1", "context": "天是蓝的。", "question": "天是什么颜色？", "answers": {"text": ["蓝的"], "answer_start": [2]}}
    folder = write_rows([row], "validation.jsonl").parent
    write_rows([example], "train.jsonl")

    rendering = render(get_task("cmrc2018"), Kind.GENERATE, shots=1, data={"clue/clue:cmrc2018": DataConfig(path=str(folder))})

    assert asked(rendering) == [("文章：天是蓝的。\n问题：天是什么颜色？\n答案：蓝的\n\n文章：北京是首都。\n问题：首都在哪？\n答案：", [])]
    assert next(rendering.shards()).samples.to_pylist()[0]["targets"] == ["北京", "北京是"]
