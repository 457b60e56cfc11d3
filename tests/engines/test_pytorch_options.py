from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from raybench.core.checkpoint import Checkpoint
from raybench.core.engine_config import PytorchConfig
from raybench.core.errors import CheckpointError, ConfigError
from raybench.core.outputs import Likelihoods
from raybench.core.protocols import EngineSpec
from raybench.core.types import Kind, Request
from raybench.engines.pytorch_causal import PytorchCausalEngine
from raybench.engines.pytorch_options import check_quantized, loading_arguments

CHOICES = [
    Request(sample_id=str(i), kind=Kind.LOGLIKELIHOOD, prompt=f"The {'big ' * i}cat", continuations=("sat", "ran away")) for i in range(5)
]


def make(folder: Path, **options: Any) -> PytorchCausalEngine:
    place = Checkpoint(uri=str(folder), path=str(folder))
    return PytorchCausalEngine(EngineSpec(kind="pytorch", checkpoint=place, options={"threads": 1, **options}))


def logprobs(engine: PytorchCausalEngine) -> list[float]:
    outputs = [p.output for p in engine.run(CHOICES)]
    return [x for o in outputs if isinstance(o, Likelihoods) for x in o.logprobs]


@pytest.fixture(scope="module")
def plain(tiny_llama: Path) -> list[float]:
    return logprobs(make(tiny_llama))


@pytest.mark.parametrize("kernel", ["auto", "sdpa", "eager"])
def test_kernels_agree(tiny_llama: Path, plain: list[float], kernel: str) -> None:
    engine = make(tiny_llama, attn_implementation=kernel)

    assert engine._loaded.model.config._attn_implementation == ("sdpa" if kernel == "auto" else kernel)
    assert engine._scorer.masks is not None
    assert logprobs(engine) == pytest.approx(plain, abs=2e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_formats_are_close(tiny_llama: Path, plain: list[float], dtype: str) -> None:
    engine = make(tiny_llama, dtype=dtype)

    assert str(engine._loaded.model.dtype) == f"torch.{dtype}"
    assert engine._scorer.masks is not None
    assert logprobs(engine) == pytest.approx(plain, abs=1.5)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler's own modules
def test_a_compiled_model_gives_the_same_scores(tiny_llama: Path, plain: list[float]) -> None:
    engine = make(tiny_llama, compile=True)

    assert engine._scorer.masks is not None
    assert logprobs(engine) == pytest.approx(plain, abs=2e-4)


def test_a_compiled_model_without_a_compiler_is_refused(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)

    with pytest.raises(ConfigError, match=r"engine\.compile: torch\.compile needs a C\+\+ compiler"):
        make(tiny_llama, compile=True)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
@pytest.mark.parametrize(("quantization", "layer"), [("bnb-8bit", "Linear8bitLt"), ("bnb-4bit", "Linear4bit")])
@pytest.mark.filterwarnings("ignore")  # its own
def test_weights_are_quantized_while_loading(
    tiny_llama: Path, other_llama: Path, plain: list[float], quantization: str, layer: str
) -> None:
    engine = make(tiny_llama, quantization=quantization)

    assert type(engine._loaded.model.model.layers[0].mlp.down_proj).__name__ == layer
    found = logprobs(engine)
    assert found != pytest.approx(plain, abs=1e-3)
    assert found == pytest.approx(plain, rel=0.25)
    assert engine.load(Checkpoint(uri="o", path=str(other_llama))) is False  # its weights would not be quantized


@pytest.mark.parametrize(
    ("options", "device", "message"),
    [
        ({"attn_implementation": "flash_attention_2"}, "cpu", "runs on a GPU, and the device is cpu"),
        ({"attn_implementation": "flash_attention_2", "dtype": "float32"}, "cuda", "computes in bfloat16 or float16"),
        ({"attn_implementation": "flash_attention_2"}, "cuda", "pip install flash-attn"),
        ({"attn_implementation": "flash_attention_3"}, "cuda", "pip install flash-attn-3"),
        ({"device_map": "auto"}, "cpu", "spreads the layers over the GPUs"),
        ({"quantization": "bnb-4bit"}, "cuda", "pip install bitsandbytes"),
        ({"compile": True}, "cuda", "pip install triton"),
        ({"compile": True}, "mps", "not proved on mps"),
    ],
)
def test_what_cannot_be_honoured_is_refused(options: dict[str, Any], device: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # a machine with none of the extras

    with pytest.raises(ConfigError, match=message):
        loading_arguments(PytorchConfig(**options), device)


def test_a_device_map_leaves_the_model_where_it_was_put() -> None:
    assert loading_arguments(PytorchConfig(device_map="balanced"), "cuda")["device_map"] == "balanced"


@pytest.mark.parametrize(
    ("method", "needed"), [("gptq", "gptqmodel optimum"), ("awq", "gptqmodel"), ("bitsandbytes", "bitsandbytes"), ("hqq", "hqq")]
)
def test_a_quantized_checkpoint_names_the_package_that_reads_it(
    tiny_llama: Path, tmp_path: Path, method: str, needed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "m"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": method, "bits": 4}}))
    real = importlib.util.find_spec
    absent = ("gptqmodel", "optimum", "bitsandbytes", "hqq")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in absent else real(name, *a))

    with pytest.raises(CheckpointError, match=f"quantized by {method}, which needs: pip install {needed}"):
        make(folder)


def test_a_quantized_checkpoint_is_not_quantized_again() -> None:
    config = {"quantization_config": {"quant_method": "torchao"}}

    with pytest.raises(ConfigError, match="quantized already"):
        check_quantized("m", config, PytorchConfig(quantization="bnb-8bit"))
