"""Tiny seeded checkpoints of decoder families: two layers, 64 wide, in float32, with the byte tokenizer of the tiny Llama."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

_LLAMA: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 512, "initializer_range": 0.2,
}  # fmt: skip
_GPT: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.2}

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": _LLAMA,
    "mistral": {**_LLAMA, "sliding_window": 24},
    "qwen2": _LLAMA,
    "qwen3": {**_LLAMA, "head_dim": 16},
    "gemma2": {**_LLAMA, "head_dim": 16, "sliding_window": 24, "query_pre_attn_scalar": 16},
    "gemma3_text": {**_LLAMA, "head_dim": 16, "sliding_window": 24, "sliding_window_pattern": 2, "query_pre_attn_scalar": 16},
    "phi": {**_LLAMA, "num_key_value_heads": 4},
    "phi3": {**_LLAMA, "pad_token_id": 1},
    "olmo2": _LLAMA,
    "mixtral": {**_LLAMA, "num_local_experts": 4, "sliding_window": None},
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512, "initializer_range": 0.2},
    "gpt_neox": {**_GPT, "intermediate_size": 96, "max_position_embeddings": 512},
    "gpt_neo": {**_GPT, "num_heads": 4, "num_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 24, "max_position_embeddings": 512},
    "opt": {**_GPT, "ffn_dim": 96, "word_embed_proj_dim": 64, "max_position_embeddings": 512, "init_std": 0.2},
    "falcon": {**_GPT, "alibi": False, "num_kv_heads": 2, "new_decoder_architecture": True, "max_position_embeddings": 512},
    "bloom": {"hidden_size": 64, "n_layer": 2, "n_head": 4, "initializer_range": 0.2},
    "mamba": {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8, "initializer_range": 0.2},
}  # fmt: skip
"""Name of the family to its settings."""

SHARES_NOTHING = frozenset({"bloom", "mamba", "gpt_neo"})
"""ALiBi from the padding mask, a state without keys and values, local attention that takes no mask."""


def make_family(family: str, folder: Path, tokenizer: Path) -> Path:
    """Write a checkpoint of `family` to `folder`, with the tokenizer of another folder."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    settings = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "tie_word_embeddings": True, **FAMILIES[family]}
    config = AutoConfig.for_model(family, vocab_size=260, **settings)
    model = AutoModelForCausalLM.from_config(config).float().eval()
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"):
        if (tokenizer / name).is_file():
            shutil.copy(tokenizer / name, folder / name)
    return folder
