from __future__ import annotations

import gc
import json
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest

from raybench.core.checkpoint import Checkpoint
from raybench.core.errors import EngineError
from raybench.core.outputs import Likelihoods
from raybench.core.protocols import Answers, EngineSpec
from raybench.core.types import Kind, Prediction, Request, Sampling
from raybench.engines.memory import free, is_out_of_memory
from raybench.engines.pytorch_causal import PytorchCausalEngine

CHOICES = [Request(sample_id=str(i), kind=Kind.LOGLIKELIHOOD, prompt="word " * (10 + i), continuations=("a", "bcd")) for i in range(12)]
TEXTS = [Request(sample_id=str(i), kind=Kind.ROLLING, prompt="a rose is a rose " * 6) for i in range(8)]
PROMPTS = [
    Request(sample_id=str(i), kind=Kind.GENERATE, prompt=f"{i * 7} bottles " * 6, sampling=Sampling(max_tokens=8)) for i in range(12)
]


@pytest.fixture
def engine(tiny_llama: Path) -> PytorchCausalEngine:
    place = Checkpoint(uri="tiny", path=str(tiny_llama))
    return PytorchCausalEngine(EngineSpec(kind="pytorch", checkpoint=place, options={"threads": 1, "batch_tokens": 2048}))


def shrink(engine: PytorchCausalEngine, most: int) -> list[int]:
    """From now on the model has no memory for more than `most` tokens; returns the list of what it was given."""
    import torch

    seen: list[int] = []

    def check(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(kwargs["input_ids"].numel())
        if seen[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")

    engine._loaded.model.register_forward_pre_hook(check, with_kwargs=True)
    return seen


def same(found: list[Prediction], expected: list[Prediction]) -> bool:
    for a, b in zip(found, expected, strict=True):
        if isinstance(a.output, Likelihoods) and isinstance(b.output, Likelihoods):
            if a.output.logprobs != pytest.approx(b.output.logprobs, abs=2e-4):
                return False
        elif a.output != b.output and getattr(a.output, "logprob", None) != pytest.approx(getattr(b.output, "logprob", 0.0), abs=2e-3):
            return False
    return True


@pytest.mark.parametrize(("requests", "most"), [(CHOICES, 40), (TEXTS, 300), (PROMPTS, 250)], ids=["loglikelihood", "rolling", "generate"])
def test_a_shard_that_does_not_fit_is_computed_with_less(engine: PytorchCausalEngine, requests: list[Request], most: int) -> None:
    whole = engine.run(requests)
    assert isinstance(whole, Answers)
    assert (whole.batch_tokens, whole.is_budget_halved) == (2048, False)
    seen = shrink(engine, most)

    answers = engine.run(requests)

    assert isinstance(answers, Answers)
    assert answers.is_budget_halved
    assert answers.batch_tokens in (1024, 512, 256, 128, 64)
    assert max(seen) > most >= seen[-1]
    assert same(answers, whole)
    # the next shard has the whole budget again: its rows do not depend on those before it
    small = engine.run(
        [TEXTS[0]] if requests is TEXTS else [Request(sample_id="s", kind=Kind.LOGLIKELIHOOD, prompt="a", continuations=("b",))]
    )
    assert isinstance(small, Answers)
    assert (small.batch_tokens, small.is_budget_halved) == (2048, False)


def test_a_shard_that_never_fits_fails_with_advice(engine: PytorchCausalEngine) -> None:
    shrink(engine, 0)

    with pytest.raises(EngineError, match="out of memory on cpu, even with 64 tokens in a forward pass"):
        engine.run(CHOICES)


REAL = """
import json, resource, sys
from raybench.core.checkpoint import Checkpoint
from raybench.core.protocols import EngineSpec
from raybench.core.types import Kind, Request
from raybench.engines.pytorch_causal import PytorchCausalEngine
place = Checkpoint(uri="tiny", path=sys.argv[1])
engine = PytorchCausalEngine(EngineSpec(kind="pytorch", checkpoint=place, options={"threads": 1, "batch_tokens": 2 ** 20, "max_length": 512}))
page = [Request(sample_id=str(i), kind=Kind.ROLLING, prompt="a rose is a rose " * 25) for i in range(600)]
engine.run(page[:2])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 400 * 2**20,) * 2)
found = engine.run(page)
scores = {round(p.output.logprob, 3) for p in found}
print(json.dumps([len(found), len(scores), found.batch_tokens, found.is_budget_halved]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit of a process's memory is that of Linux")
def test_a_real_allocator_that_refuses_is_understood(tiny_llama: Path) -> None:
    """400 MB for a shard whose whole batch takes more: PyTorch's own CPU allocator raises."""
    done = subprocess.run([sys.executable, "-c", REAL, str(tiny_llama)], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr[-2000:]
    num_rows, num_scores, batch_tokens, is_halved = json.loads(done.stdout.splitlines()[-1])
    assert (num_rows, num_scores, is_halved) == (600, 1, True)
    assert batch_tokens < 2**20


def test_a_closed_engine_has_let_go_of_its_model_without_a_search_for_cycles(engine: PytorchCausalEngine) -> None:
    engine.run([CHOICES[0], TEXTS[0], PROMPTS[0]])  # the probes and every way of answering leave nothing that holds the model
    model = weakref.ref(engine._loaded.model)
    gc.disable()
    try:
        engine.close()
        assert model() is None
    finally:
        gc.enable()


def model_that_holds_itself() -> Any:
    import torch

    model = torch.nn.Linear(1, 1)
    model.register_forward_pre_hook(lambda *_: model)
    return model


def test_a_model_in_a_cycle_is_freed_as_well() -> None:
    dropped = weakref.ref(model_that_holds_itself())
    assert dropped() is not None

    free(dropped)

    assert dropped() is None


def test_other_errors_are_not_taken_for_memory() -> None:
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"))
    assert not is_out_of_memory(ValueError("out of memory"))
