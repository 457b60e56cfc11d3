"""A tagger and a reader of spans, BERT-shaped, trained in seconds and kept by the digest of this file.

The tagger learns from three of four real sentences of CoNLL-2003's test set, the only part that lies beside the project; the fourth is for the
evaluation. No model this small learns SQuAD, so the reader learns a small world of its own: who lives where since when, in rows of SQuAD 2.0's shape.
"""

from __future__ import annotations

import hashlib
import json
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raybench.tasks.conll2003 import LABELS

HELD_OUT = 4
"""Every fourth sentence is not learned from."""
_SHAPE = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128, "max_position_embeddings": 256}
_START, _MIDDLE = ("Ad", "Bo", "Ka", "Li", "Mo", "Ne", "Or", "Pa", "Ri", "Su"), ("ba", "del", "ker", "mi", "no", "ra", "ta", "vin")
_FILLERS = (
    "The weather was fine that day.",
    "Nobody else was seen near the house.",
    "It is said that the tea was good.",
    "A dog slept on the stairs.",
)
_QUESTIONS = {"who": "Who is it about?", "where": "Where is the home?", "when": "When did it begin?"}


def trained_tagger(data: Path, cache: Path) -> Path:
    """The folder of the checkpoint, with the sentences it did not see as `held_out.parquet`.

    Args:
        data: Folder of the benchmarks' copies.
        cache: Where it is kept; made when it is not there.
    """
    return _kept(cache, "tagger", lambda folder: _make_tagger(pq.read_table(data / "conll2003" / "test.parquet"), folder))


def trained_reader(cache: Path) -> Path:
    """The folder of the checkpoint, with questions it did not see as `held_out.jsonl`."""
    return _kept(cache, "reader", _make_reader)


def questions(count: int, seed: int) -> list[dict[str, Any]]:
    """Rows in the shape of SQuAD 2.0: a person, a place and a year among other sentences; in a third of them what is asked for is not there."""
    rng = random.Random(seed)
    rows = []
    for i in range(count):
        asked = rng.choice(list(_QUESTIONS))
        name, place = (f"{rng.choice(_START)}{rng.choice(_MIDDLE)}{rng.choice(_MIDDLE)}" for _ in range(2))
        facts = {"who": f"Doctor {name}", "where": f"Port {place}", "when": f"{rng.choice(('May', 'June'))} {rng.randint(1700, 1999)}"}
        if rng.random() < 1 / 3:
            del facts[asked]
        sentences = [f"{facts.get('who', 'Somebody')} has lived in {facts.get('where', 'a town')} since {facts.get('when', 'long ago')}."]
        sentences += rng.choices(_FILLERS, k=rng.randint(0, 3))
        rng.shuffle(sentences)
        context = " ".join(sentences)
        found = [facts[asked]] if asked in facts else []
        answers = {"text": found, "answer_start": [context.index(text) for text in found]}
        rows.append({"id": f"q{i}", "title": "A town", "context": context, "question": _QUESTIONS[asked], "answers": answers})
    return rows


def _kept(cache: Path, name: str, make: Callable[[Path], None]) -> Path:
    folder = cache / f"{name}-{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temp:
            made = Path(temp) / name
            made.mkdir()
            make(made)
            try:
                made.rename(folder)
            except OSError:
                assert folder.exists(), "another process made the same"
    return folder


def _make_tagger(table: pa.Table, folder: Path) -> None:
    from transformers import BertConfig, BertForTokenClassification

    rows = table.to_pylist()
    seen = [row for i, row in enumerate(rows) if i % HELD_OUT]
    tokenizer = _tokenizer([" ".join(row["tokens"]) for row in seen])
    encoded = tokenizer([row["tokens"] for row in seen], is_split_into_words=True)
    items = []
    for i, row in enumerate(seen):
        words = encoded.word_ids(i)
        first = [w is not None and w != before for before, w in zip([None, *words], words, strict=False)]
        labels = [row["ner_tags"][w] if is_first else -100 for w, is_first in zip(words, first, strict=True)]
        items.append({"input_ids": encoded["input_ids"][i], "labels": labels})
    names = {"id2label": dict(enumerate(LABELS)), "label2id": {n: i for i, n in enumerate(LABELS)}}
    _train(lambda: BertForTokenClassification(BertConfig(vocab_size=len(tokenizer), **_SHAPE, **names)), items, tokenizer, folder, epochs=3)
    pq.write_table(pa.Table.from_pylist(rows[::HELD_OUT], schema=table.schema), folder / "held_out.parquet")


def _make_reader(folder: Path) -> None:
    from transformers import BertConfig, BertForQuestionAnswering

    rows = questions(3000, seed=1)
    tokenizer = _tokenizer([f"{row['question']} {row['context']}" for row in rows])
    items = []
    for row in rows:
        encoded = tokenizer(row["question"], row["context"])
        start, stop = 0, 0  # the first token: no answer
        if row["answers"]["text"]:
            begin = row["answers"]["answer_start"][0]
            start, stop = (encoded.char_to_token(at, sequence_index=1) for at in (begin, begin + len(row["answers"]["text"][0]) - 1))
        items.append(
            {
                "input_ids": encoded["input_ids"],
                "token_type_ids": encoded["token_type_ids"],
                "start_positions": start,
                "end_positions": stop,
            }
        )
    _train(lambda: BertForQuestionAnswering(BertConfig(vocab_size=len(tokenizer), **_SHAPE)), items, tokenizer, folder, epochs=6)
    text = "".join(json.dumps(row) + "\n" for row in questions(240, seed=2))
    (folder / "held_out.jsonl").write_text(text)


def _tokenizer(texts: Sequence[str]) -> Any:
    """BERT's: words and punctuation, cut into pieces; with case."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=False)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    core.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=3000, min_frequency=2, special_tokens=marks, show_progress=False))
    special = [(token, core.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    core.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=special)
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=core, model_input_names=["input_ids", "token_type_ids", "attention_mask"], **names)


def _train(make: Callable[[], Any], items: Sequence[dict[str, Any]], tokenizer: Any, folder: Path, *, epochs: int) -> None:
    """Train from seeded weights and write the checkpoint."""
    import torch

    torch.set_num_threads(1)  # the same weights on every machine of a kind
    torch.manual_seed(0)
    model = make().float().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    batches = list(_batches(items, epochs))
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=len(batches))
    for batch in batches:
        optimizer.zero_grad()
        model(**_tensors(batch)).loss.backward()
        optimizer.step()
        schedule.step()
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _batches(items: Sequence[dict[str, Any]], epochs: int, size: int = 32) -> Iterator[list[dict[str, Any]]]:
    """Rows of like length together, batches in random order."""
    rng = random.Random(0)
    for _ in range(epochs):
        order = sorted(rng.sample(items, len(items)), key=lambda item: len(item["input_ids"]))
        batches = [order[i : i + size] for i in range(0, len(order), size)]
        rng.shuffle(batches)
        yield from batches


def _tensors(batch: Sequence[dict[str, Any]]) -> dict[str, Any]:
    import torch

    length = max(len(item["input_ids"]) for item in batch)
    padding = {"labels": -100}
    tensors = {
        name: torch.tensor([v if isinstance(v := item[name], int) else [*v, *[padding.get(name, 0)] * (length - len(v))] for item in batch])
        for name in batch[0]
    }
    return {**tensors, "attention_mask": (torch.arange(length) < torch.tensor([[len(item["input_ids"])] for item in batch])).long()}
