from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import raybench
from raybench.core.checkpoint import Checkpoint
from raybench.core.errors import CheckpointError, ConfigError
from raybench.core.outputs import Likelihoods
from raybench.core.protocols import EngineSpec
from raybench.core.types import Kind, Request
from raybench.driver.models import open_models
from raybench.engines.pytorch_causal import PytorchCausalEngine
from raybench.engines.registry import make_engine

CHOICES = [Request(sample_id=str(i), kind=Kind.LOGLIKELIHOOD, prompt=f"The cat number {i}", continuations=("sat", "ran")) for i in range(4)]


def make_adapter(base: Path, folder: Path, *, seed: int = 0) -> Path:
    """A LoRA of rank 4 on the tiny Llama whose weights are not the zeros of an untrained one."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"])
    )
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.2)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(tiny_llama: Path, tmp_path: Path) -> Path:
    return make_adapter(tiny_llama, tmp_path / "adapter")


def make(folder: Path, adapter: Path | None, **options: Any) -> PytorchCausalEngine:
    place = Checkpoint(uri=str(folder), path=str(folder), adapter=None if adapter is None else str(adapter))
    return PytorchCausalEngine(EngineSpec(kind="pytorch", checkpoint=place, options={"threads": 1, **options}))


def logprobs(engine: PytorchCausalEngine) -> list[float]:
    outputs = [p.output for p in engine.run(CHOICES)]
    return [x for o in outputs if isinstance(o, Likelihoods) for x in o.logprobs]


def test_scores_are_those_of_pefts_own_forward(tiny_llama: Path, adapter: Path) -> None:
    import torch
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    model = AutoPeftModelForCausalLM.from_pretrained(adapter).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    expected = []
    for request in CHOICES:
        head = tokenizer.encode(request.prompt)
        for continuation in request.continuations:
            tail = tokenizer.encode(" " + continuation)
            with torch.no_grad():
                logits = model(torch.tensor([head + tail])).logits[0].log_softmax(-1)
            expected.append(sum(float(logits[len(head) + i - 1, t]) for i, t in enumerate(tail)))

    engine = make(tiny_llama, adapter)

    assert logprobs(engine) == pytest.approx(expected, abs=2e-4)
    assert engine._scorer.masks is not None  # contexts are shared as without it
    assert logprobs(engine) != pytest.approx(logprobs(make(tiny_llama, None)), abs=0.1)


def test_weights_are_not_swapped_under_an_adapter(tiny_llama: Path, other_llama: Path, adapter: Path) -> None:
    plain, adapted = Checkpoint(uri="o", path=str(other_llama)), Checkpoint(uri="t", path=str(tiny_llama), adapter=str(adapter))

    assert make(tiny_llama, adapter).load(plain) is False
    assert make(tiny_llama, None).load(adapted) is False


def no_config(folder: Path) -> None:
    (folder / "adapter_config.json").unlink()


def other_kind(folder: Path) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "peft_type": "PROMPT_TUNING"}))


def pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def cut(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])


@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        (no_config, "adapter_config.json is missing"),
        (other_kind, "peft_type is 'PROMPT_TUNING'. Expected LORA"),
        (pickled, "pickled"),
        (cut, "truncated"),
    ],
)
def test_a_broken_adapter_is_refused(tiny_llama: Path, adapter: Path, breaks: Callable[[Path], None], message: str) -> None:
    breaks(adapter)

    with pytest.raises(CheckpointError, match=message):
        make(tiny_llama, adapter)


@pytest.mark.filterwarnings("ignore::UserWarning")  # peft says what it has no place for in a warning; here it is an error
def test_an_adapter_of_another_model_is_refused(tiny_llama: Path, adapter: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = adapter / "adapter_model.safetensors"
    save_file({name.replace("layers.1", "layers.7"): tensor for name, tensor in load_file(file).items()}, file)

    with pytest.raises(CheckpointError, match=r"weights of the adapter have no place"):
        make(tiny_llama, adapter)


def models_of(base: Path, **model: Any) -> Any:
    return raybench.parse_config(
        {"name": "r", "models": [{"checkpoint": str(base), "chat_template": "none", **model}], "tasks": ["quickstart/choice"]}
    )


def test_an_adapter_is_part_of_the_identity(tiny_llama: Path, adapter: Path, tmp_path: Path) -> None:
    other = make_adapter(tiny_llama, tmp_path / "other", seed=1)

    identities = [
        open_models(models_of(tiny_llama, **more))[0].checkpoint.identity
        for more in ({}, {"adapter": str(adapter)}, {"adapter": str(other)})
    ]

    assert len(set(identities)) == 3


def test_an_adapter_for_an_engine_that_takes_none_is_refused(tiny_llama: Path, adapter: Path) -> None:
    with pytest.raises(ConfigError, match=r"an adapter is for the engines pytorch and vllm; engine\.kind is 'fake'"):
        open_models(models_of(tiny_llama, adapter=str(adapter), engine={"kind": "fake"}))


@pytest.mark.vllm
def test_scores_in_vllm_are_those_of_the_pytorch_engine(wide_llama: Path, tmp_path: Path) -> None:
    folder = make_adapter(wide_llama, tmp_path / "adapter")
    place = Checkpoint(uri="w", path=str(wide_llama), adapter=str(folder))
    options = {"threads": 1, "max_length": 200, "kv_cache_memory_bytes": 1 << 28, "dtype": "float32"}
    engine = make_engine(EngineSpec(kind="vllm", checkpoint=place, options=options))

    found = [x for p in engine.run(CHOICES) if isinstance(p.output, Likelihoods) for x in p.output.logprobs]
    swapped = engine.load(Checkpoint(uri="w", path=str(wide_llama)))
    engine.close()

    assert found == pytest.approx(logprobs(make(wide_llama, folder)), abs=1e-3)
    assert found != pytest.approx(logprobs(make(wide_llama, None)), abs=0.1)
    assert not swapped
