"""What a model learned in pretraining, over plain texts of a file, from a configuration: each number against a loop with transformers' own loss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raybench.core.config_file import parse
from raybench.core.errors import ConfigError
from raybench.core.types import Result
from raybench.driver.run import run
from raybench.engines.fill import drawn
from raybench.tasks.corrupt import infilled, t5_corrupted, t5_spans
from tests.tiny_models import make_checkpoint

TEXTS = ("the first line of a file", "another one", "and a third line that is longer than the others", "x")


def measure(folder: Path, checkpoint: Path, rows: list[dict[str, Any]], task: dict[str, Any], **engine: Any) -> Result:
    """The one number of a declared task over a JSON Lines file."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "name": "intrinsic", "models": [{"name": "m", "checkpoint": str(checkpoint)}], "pool": "local", "bootstrap": 20,
        "engine": {"kind": "pytorch", "threads": 1, **engine}, "output": str(folder / "run"),
        "tasks": [{"name": "texts", "source": {"path": str(folder / "rows.jsonl")}, "sample_id": "id", "shard_size": 3, **task}],
    }  # fmt: skip
    (result,) = run(parse(config)).results.results
    assert result.estimate.num_samples == len(rows)
    return result


def test_the_masked_loss_is_that_of_transformers(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    folder = make_checkpoint(tmp_path / "bert", "bert", "AutoModelForMaskedLM")
    rows = [{"id": f"t{i}", "text": text} for i, text in enumerate(TEXTS)]
    task = {"kind": "fill", "prompt": "{{ text }}", "metrics": ["mlm_loss"]}

    result = measure(tmp_path, folder, rows, task, mask_share=0.15)

    model, tokenizer = AutoModelForMaskedLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    total = num = 0.0
    for row in rows:
        ids = torch.tensor([tokenizer(row["text"])["input_ids"]])
        places = drawn(row["id"], range(1, ids.shape[1] - 1), 0.15)  # all but [CLS] and [SEP]
        labels = torch.full_like(ids, -100)
        labels[0, places] = ids[0, places]
        with torch.no_grad():
            loss = model(input_ids=ids.masked_fill(labels != -100, tokenizer.mask_token_id), labels=labels).loss.item()
        total, num = total + loss * len(places), num + len(places)
    assert result.estimate.value == pytest.approx(total / num, abs=1e-5)
    assert not result.higher_is_better
    with pytest.raises(ConfigError, match=r"Set engine\.mask_share"):
        measure(tmp_path, folder, rows, task)


def test_the_contrastive_loss_is_a_cross_entropy_of_cosines(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = make_checkpoint(tmp_path / "bert", "bert", "AutoModel")
    rows = [
        {"id": f"t{i}", "text": text, "others": [text[::-1] + "!", text[1:] + "?", *TEXTS], "at": i % 2} for i, text in enumerate(TEXTS)
    ]
    task = {"kind": "embed", "prompt": "{{ text }}", "choices": "{{ others }}", "target": "{{ at }}"}

    result = measure(tmp_path, folder, rows, task, overlong="truncate_right", max_length=40)

    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    losses = []
    for row in rows:
        vectors = []
        for text in (row["text"], *row["others"]):
            inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=40)
            with torch.no_grad():
                vectors.append(model(**inputs).last_hidden_state[0].mean(0))
        cosines = torch.cosine_similarity(vectors[0], torch.stack(vectors[1:]))
        losses.append(torch.nn.functional.cross_entropy(cosines / 0.05, torch.tensor(row["at"])).item())
    assert result.metric == "info_nce"
    assert result.estimate.value == pytest.approx(sum(losses) / len(losses), abs=1e-4)
    with pytest.raises(ConfigError, match="also needs: choices, target"):
        measure(tmp_path, folder, rows, {"kind": "embed", "prompt": "{{ text }}"})


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_the_denoising_loss_is_that_of_transformers(tmp_path: Path, family: str) -> None:
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    folder = make_checkpoint(tmp_path / family, family, "AutoModelForSeq2SeqLM")
    rows = [{"id": f"t{i}", "text": text} for i, text in enumerate(TEXTS[:3])]
    read, written, corrupted, restored = {
        "t5": ("{{ text|t5_corrupted }}", "{{ text|t5_spans }}", t5_corrupted, t5_spans),
        "bart": ("{{ text|infilled }}", "{{ text }}", infilled, str),
    }[family]
    task = {
        "kind": "loglikelihood", "prompt": read, "choices": [written], "target": "0", "delimiter": "", "metrics": ["denoising_loss"],
    }  # fmt: skip

    result = measure(tmp_path, folder, rows, task)

    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    total = num = 0.0
    for row in rows:
        inputs = tokenizer(corrupted(row["text"]), return_tensors="pt")
        # what is written has no end token
        labels = torch.tensor([tokenizer(text_target=restored(row["text"]), add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            loss = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], labels=labels).loss.item()
        total, num = total + loss * labels.shape[1], num + labels.shape[1]
    assert result.estimate.value == pytest.approx(total / num, abs=1e-4)
