"""Fixtures of all tests: where the data lies, a tiny real checkpoint, a clean environment."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.object_store import bucket, s3_environ  # noqa: F401  # fixtures

settings.register_profile("raybench", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no mistake
settings.load_profile("raybench")

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}  # read when the libraries are imported, perhaps by a session fixture

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What vLLM's imports warn of is not ours to mend, and its engines take half a minute to start, more on a busy machine."""
    for item in items:
        if item.get_closest_marker("vllm") is not None:
            item.add_marker(pytest.mark.filterwarnings("ignore"))
            item.add_marker(pytest.mark.timeout(1200))


@pytest.fixture(autouse=True)
def clean_environ(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test talks to a hub, joins a cluster by accident, or writes into the user's cache."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if "RAYBENCH_TEST_CACHE" not in os.environ:
        monkeypatch.setenv("RAYBENCH_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))
    else:
        monkeypatch.setenv("RAYBENCH_CACHE_DIR", os.environ["RAYBENCH_TEST_CACHE"])


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real benchmark data and reference outputs, which are not part of the repository."""
    path = Path(os.environ.get("RAYBENCH_TEST_DATA", ROOT.parent / "shared"))
    if not (path / "data").is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{path}: no benchmark data, and this is CI")
        pytest.skip("no benchmark data: set RAYBENCH_TEST_DATA")
    return path


def make_tiny_llama(folder: Path, *, seed: int = 0, num_heads: int = 4) -> Path:
    """A Llama of two layers with seeded weights in float32, and a byte-level tokenizer with BOS, EOS and a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate(["<s>", "</s>", "<|im_start|>", "<|im_end|>", *alphabet])}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", additional_special_tokens=["<|im_start|>", "<|im_end|>"]
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocab), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=num_heads,
        num_key_value_heads=num_heads // 2, max_position_embeddings=512, bos_token_id=0, eos_token_id=1, tie_word_embeddings=True,
        initializer_range=0.3,
    )  # fmt: skip
    model = LlamaForCausalLM(config).float()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "made.json").write_text(json.dumps({"seed": seed}))
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder that loads like a real one, in milliseconds."""
    return make_tiny_llama(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def wide_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As tiny_llama, with heads of 32: vLLM's kernels for CPUs know none that are smaller."""
    return make_tiny_llama(tmp_path_factory.mktemp("models") / "wide-llama", num_heads=2)


@pytest.fixture(scope="session")
def live_vllm(wide_llama: Path) -> Iterator[Any]:
    """One vLLM engine for all tests that may share it: starting one takes half a minute. Its context is 200 tokens."""
    from raybench.core.checkpoint import Checkpoint
    from raybench.core.protocols import EngineSpec
    from raybench.engines.registry import make_engine

    checkpoint = Checkpoint(uri=str(wide_llama), path=str(wide_llama), identity="wide")
    options = {"max_length": 200, "threads": 1, "kv_cache_memory_bytes": 1 << 28}
    engine = make_engine(EngineSpec(kind="vllm", checkpoint=checkpoint, options=options))
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def other_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Same architecture, other weights."""
    return make_tiny_llama(tmp_path_factory.mktemp("models") / "other-llama", seed=1)


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[str]:
    """A cluster of this machine, started as a run starts one; every run in this process joins it. Gives its address."""
    from raybench.core.config import RayConfig
    from raybench.driver.ray_pool import RayPool

    owner = RayPool(RayConfig())
    import ray

    yield ray.get_runtime_context().gcs_address
    owner.close()
