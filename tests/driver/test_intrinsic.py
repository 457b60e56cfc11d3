"""What a model learned in pretraining, over plain texts of a file, from a configuration: each number against a loop with transformers' own loss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raybench.core.config_file import parse
from raybench.core.errors import ConfigError
from raybench.core.results import Result
from raybench.driver.run import run
from raybench.engines.fill import drawn
from raybench.tasks.corrupt import infilled, t5_corrupted, t5_spans
from tests.tiny_models import make_checkpoint

TEXTS = ("the first line of a file", "another one", "and a third line that is longer than the others", "x")


def measure(
    folder: Path,
    checkpoint: Path,
    rows: list[dict[str, Any]],
    task: dict[str, Any],
    *,
    label_map: dict[str, str] | None = None,
    **engine: Any,
) -> Result:
    """The one number of a declared task over a JSON Lines file."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "name": "intrinsic", "models": [{"name": "m", "checkpoint": str(checkpoint), "label_map": label_map or {}}], "pool": "local", "bootstrap": 20,
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


def test_replaced_tokens_are_found_as_by_a_loop_over_the_discriminator(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForPreTraining, AutoTokenizer

    folder = make_checkpoint(tmp_path / "electra", "electra", "AutoModelForPreTraining")
    rows = [{"id": f"t{i}", "tokens": list(text.replace(" ", "")), "replaced": []} for i, text in enumerate(TEXTS)]
    for row in rows:
        row["replaced"] = ["replaced" if k % 7 == 3 else "original" for k in range(len(row["tokens"]))]
    names = ["original", "replaced"]
    task = {"kind": "tag", "words": "{{ tokens }}", "target": "{{ replaced }}", "labels": names, "metrics": ["tag_acc"]}

    result = measure(tmp_path, folder, rows, task, label_map={"LABEL_0": "original", "LABEL_1": "replaced"})

    model, tokenizer = AutoModelForPreTraining.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    is_right = []
    for row in rows:
        with torch.no_grad():
            logits = model(**tokenizer(row["tokens"], is_split_into_words=True, return_tensors="pt")).logits[0, 1:-1]
        # Clark et al. 2020: the sigmoid of the logit is the probability that the token was replaced; a token a letter, but [CLS] and [SEP]
        is_right += [(p > 0.5) == (true == "replaced") for p, true in zip(logits.sigmoid().tolist(), row["replaced"], strict=True)]
    assert result.estimate.value == pytest.approx(sum(is_right) / len(is_right), abs=1e-12)


def test_the_next_sentence_is_told_as_by_a_loop_over_the_head(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForNextSentencePrediction, AutoTokenizer

    folder = make_checkpoint(tmp_path / "bert", "bert", "AutoModelForNextSentencePrediction")
    pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
    rows = [
        {"id": f"{i}-{j}", "first": TEXTS[i], "second": TEXTS[j], "truth": "next" if j == i + 1 else "random"} for i, j in pairs
    ]  # fmt: skip
    task = {
        "kind": "classify", "prompt": "{{ first }}", "pair": "{{ second }}", "labels": ["next", "random"], "target": "{{ truth }}",
        "metrics": ["acc"],
    }  # fmt: skip

    result = measure(tmp_path, folder, rows, task, label_map={"LABEL_0": "next", "LABEL_1": "random"})

    model, tokenizer = AutoModelForNextSentencePrediction.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    is_right = []
    for row in rows:
        with torch.no_grad():
            # of the documentation of BertForNextSentencePrediction: logit 0 says that the second text continues the first
            is_next = model(**tokenizer(row["first"], row["second"], return_tensors="pt")).logits[0].argmax().item() == 0
        is_right.append(is_next == (row["truth"] == "next"))
    assert result.estimate.value == pytest.approx(sum(is_right) / len(is_right), abs=1e-12)


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
