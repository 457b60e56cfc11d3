"""Small BERTs with heads, trained on real GLUE rows in seconds and kept by the digest of this file.

Only validation splits lie beside the project, so every fourth row is held out for the evaluation and the others are learned from.

    python -m tests.trained_classifiers DATA OUTPUT     DATA holds glue_sst2/validation.parquet and glue_stsb/validation.parquet
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

HELD_OUT = 4
"""Every fourth row is not learned from."""
MAX_LENGTH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one model is made."""

    columns: tuple[str, ...]
    labels: tuple[str, ...]
    """Empty: a regression."""
    epochs: int
    rate: float
    batch: int = 32


RECIPES = {
    "sst2": Recipe(columns=("sentence",), labels=("negative", "positive"), epochs=12, rate=1e-3),
    "stsb": Recipe(columns=("sentence1", "sentence2"), labels=(), epochs=3, rate=1e-3),
}


def trained_classifier(name: str, data: Path, cache: Path) -> Path:
    """The folder of a checkpoint, with the rows it did not see as `held_out.parquet`; made when it is not there."""
    folder = cache / f"{name}-{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temp:
            made = Path(temp) / name
            make(RECIPES[name], data / f"glue_{name}" / "validation.parquet", made)
            try:
                made.rename(folder)
            except OSError:
                assert folder.exists(), "another process made the same"
    return folder


def make(recipe: Recipe, file: Path, folder: Path) -> None:
    """Train a model on the rows of a file and write checkpoint and held-out rows."""
    import torch
    from transformers import BertForSequenceClassification

    table = pq.read_table(file)
    rows = table.to_pylist()
    seen = [row for i, row in enumerate(rows) if i % HELD_OUT]
    tokenizer = make_tokenizer([row[c] for row in seen for c in recipe.columns])
    torch.manual_seed(0)
    model = BertForSequenceClassification(_config(recipe, len(tokenizer))).float()
    texts = [[row[c] for row in seen] for c in recipe.columns]
    inputs = dict(tokenizer(*texts, truncation=True, max_length=MAX_LENGTH, padding=True, return_tensors="pt"))
    targets = torch.tensor([row["label"] for row in seen])
    _fit(model, inputs, targets if recipe.labels else targets.float(), recipe)
    folder.mkdir()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    pq.write_table(
        pa.Table.from_pylist([row for i, row in enumerate(rows) if i % HELD_OUT == 0], schema=table.schema), folder / "held_out.parquet"
    )


def make_tokenizer(texts: list[str]) -> Any:
    """One token a word of two or more occurrences, in lower case, with BERT's special tokens."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    core = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.train_from_iterator(
        texts, trainers.WordLevelTrainer(vocab_size=8000, min_frequency=2, special_tokens=special, show_progress=False)
    )
    ids = [(token, core.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    core.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ids)
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=core, model_input_names=inputs, model_max_length=MAX_LENGTH, **names)


def _config(recipe: Recipe, size: int) -> Any:
    from transformers import BertConfig

    names = dict(enumerate(recipe.labels)) or {0: "value"}
    return BertConfig(
        vocab_size=size, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, max_position_embeddings=MAX_LENGTH,
        num_labels=len(names), id2label=names, label2id={n: i for i, n in names.items()},
        problem_type="single_label_classification" if recipe.labels else "regression",
    )  # fmt: skip


def _fit(model: Any, inputs: dict[str, Any], targets: Any, recipe: Recipe) -> None:
    import torch

    torch.set_num_threads(1)  # the same weights on every machine of a kind
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=0.01)
    steps = recipe.epochs * -(-len(targets) // recipe.batch)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=steps)
    model.train()
    for _ in range(recipe.epochs):
        for chosen in torch.randperm(len(targets), generator=generator).split(recipe.batch):
            length = int(inputs["attention_mask"][chosen].sum(1).max())
            batch = {name: values[chosen, :length] for name, values in inputs.items()}
            loss = model(**batch, labels=targets[chosen]).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()


if __name__ == "__main__":
    given, output = map(Path, sys.argv[1:])
    output.mkdir(parents=True, exist_ok=True)
    for recipe_name, chosen_recipe in RECIPES.items():
        make(chosen_recipe, given / f"glue_{recipe_name}" / "validation.parquet", output / recipe_name)
