"""Fixtures of the task tests: small data files, and the plain prompts that a rendering stands for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raybench.core.task_config import DataConfig
from raybench.tasks.prompts import Rendering

Asked = tuple[str, list[str]]


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows as JSON Lines and gives the file."""

    def write(rows: list[dict[str, Any]], name: str = "test.jsonl") -> Path:
        file = tmp_path / name
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return file

    return write


@pytest.fixture
def asked() -> Callable[[Rendering], list[Asked]]:
    """Every request of a rendering as plain text: the whole context, and the continuations with the delimiter."""

    def plain(rendering: Rendering) -> list[Asked]:
        form, shots = rendering.form, rendering.shots.to_pylist()
        texts = []
        for shard in rendering.shards():
            for row in shard.requests.to_pylist():
                examples = "".join(f"{shots[i]['question']}{form.delimiter}{shots[i]['answer']}{form.separator}" for i in row["shots"])
                texts.append((f"{form.description}{examples}{row['prompt']}", [form.delimiter + c for c in row["continuations"]]))
        return texts

    return plain


@pytest.fixture
def data(shared: Path) -> dict[str, DataConfig]:
    """The `data:` map that sends the built-in tasks to local copies of their data sets."""
    folder = shared / "data"
    return {
        "allenai/ai2_arc:ARC-Challenge": DataConfig(path=str(folder / "arc_challenge")),
        "openai/gsm8k": DataConfig(path=str(folder / "gsm8k")),
        "EleutherAI/wikitext_document_level": DataConfig(path=str(folder / "wikitext_2"), splits={"test": "test_pages.parquet"}),
        "cais/mmlu:all": DataConfig(path=str(folder / "mmlu")),
        "rajpurkar/squad": DataConfig(path=str(folder / "squad_v1_1_xquad_en"), splits={"validation": "validation_subset.parquet"}),
        "rajpurkar/squad_v2": DataConfig(path=str(folder / "squad_v2"), splits={"validation": "validation_cs224n_half.parquet"}),
        "clue/clue:drcd": DataConfig(path=str(folder / "clue_drcd")),
        **{f"clue/clue:{name}": DataConfig(path=str(folder / f"clue_{name}")) for name in ("afqmc", "cmnli", "tnews")},
        "clue/clue:cluewsc2020": DataConfig(path=str(folder / "fewclue_cluewsc"), splits={"validation": "test_public.parquet"}),
        "lansinuote/ChnSentiCorp": DataConfig(path=str(folder / "chnsenticorp")),
        "CLUEbenchmark/FewCLUE:chid": DataConfig(path=str(folder / "fewclue_chid")),
        "eriktks/conll2003": DataConfig(path=str(folder / "conll2003")),
    }


@pytest.fixture
def reference(shared: Path) -> Callable[[str], list[dict[str, Any]]]:
    """Samples that lm-eval 0.4.13 logged on the same data (reference/make_reference.py)."""
    import gzip

    def load(name: str) -> list[dict[str, Any]]:
        with gzip.open(shared / "reference" / f"{name}.json.gz", "rt", encoding="utf-8") as file:
            return list(json.load(file)["samples"])

    return load
