"""The noise floor of a run in bfloat16, against transformers in float32 by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raybench.core.config_file import parse
from raybench.core.errors import CheckpointError, ConfigError, IncompleteError
from raybench.core.outputs import Likelihoods
from raybench.driver.inspect_rows import inspect_samples
from raybench.driver.recheck import recheck
from raybench.driver.run import run
from raybench.store.run_dir import RunDir
from raybench.store.verify import content_sha256, verify
from tests.driver.runs import fake_config

CHOICE, TEXT = "quickstart/choice", "quickstart/arithmetic"


@pytest.fixture(scope="module")
def finished(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 choices and 12 short texts in bfloat16."""
    output = tmp_path_factory.mktemp("noise") / "run"
    config = {
        "name": "noisy",
        "models": [{"checkpoint": str(tiny_llama), "name": "tiny", "chat_template": "none"}],
        "tasks": [
            {"name": CHOICE, "limit": 40, "shard_size": 8, "shots": 0},
            {"name": TEXT, "limit": 12, "shard_size": 4, "shots": 0, "sampling": {"max_tokens": 8}},
        ],
        "engine": {"kind": "pytorch", "dtype": "bfloat16", "device": "cpu", "threads": 1},
        "pool": "local",
        "bootstrap": 0,
        "output": str(output),
    }
    assert run(parse(config)).exit_code == 0
    return output


@pytest.fixture(scope="module")
def by_hand(finished: Path, tiny_llama: Path) -> dict[str, tuple[float, bool]]:
    """Sample id to the largest difference of its options' log-probabilities, and whether another one is the most likely."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype="float32").eval(), AutoTokenizer.from_pretrained(tiny_llama)
    found = {}
    for item in inspect_samples(finished, task=CHOICE):
        (request,), (prediction,) = item.requests, item.predictions
        assert isinstance(prediction.output, Likelihoods)
        again = []
        for option in request.continuations:
            head, tail = tokenizer.encode(request.context), tokenizer.encode(f"{request.delimiter}{option}")
            with torch.inference_mode():
                table = model(torch.tensor([[*head, *tail]])).logits[0].log_softmax(-1)
            again.append(sum(float(table[len(head) - 1 + k, t]) for k, t in enumerate(tail)))
        stored = prediction.output.logprobs
        drift = max(abs(x - y) for x, y in zip(stored, again, strict=True))
        found[item.sample.id] = drift, max(range(len(again)), key=again.__getitem__) != max(range(len(stored)), key=stored.__getitem__)
    return found


def test_drift_and_flips_are_those_of_float32_by_hand(finished: Path, by_hand: dict[str, tuple[float, bool]]) -> None:
    (found,) = recheck(finished, num_samples=1000, task=CHOICE)

    assert {s.id for s in found.samples} == set(by_hand)
    for sample in found.samples:
        assert sample.drift == pytest.approx(by_hand[sample.id][0], abs=1e-3)
        assert sample.is_flipped == by_hand[sample.id][1]
    assert found.drift_max == pytest.approx(max(d for d, _ in by_hand.values()), abs=1e-3)
    assert found.drift_max > 0.02  # bfloat16 has eight bits: there was something to be found
    assert found.reference.startswith("pytorch float32 torch-")


def test_the_draw_follows_from_the_seed_and_what_was_found_is_kept_beside_the_content(finished: Path) -> None:
    store = RunDir.open(finished)
    before = content_sha256(store), (finished / "results.json").read_bytes()

    one, again, other = (recheck(finished, num_samples=10, seed=seed, task=CHOICE)[0] for seed in (1, 1, 2))
    (texts,) = recheck(finished, num_samples=5, task=TEXT)

    assert one == again
    assert [s.id for s in one.samples] != [s.id for s in other.samples]
    assert len(one.samples) == 10
    assert len(texts.samples) == texts.num_decisions == 5
    assert store.documents.rechecks() == (other, texts)  # the newest of each task
    assert (content_sha256(store), (finished / "results.json").read_bytes()) == before
    assert verify(store) == []


def test_an_engine_that_answers_in_float32_itself_has_no_noise(tiny_llama: Path, tmp_path: Path) -> None:
    base = RunDir.open(_run(tiny_llama, tmp_path / "run", {"dtype": "float32"}))

    choice, text = recheck(base.path, num_samples=8)

    assert choice.drift_max is not None
    assert choice.drift_max < 1e-3
    assert (choice.num_flipped, text.num_flipped) == (0, 0)
    assert all(before == again for r in (choice, text) for before, again in r.metrics.values())


def test_what_cannot_be_compared_is_refused_with_the_reason(finished: Path, tiny_llama: Path, tmp_path: Path) -> None:
    told: list[str] = []
    drawn = _run(tiny_llama, tmp_path / "drawn", {}, {"temperature": 1.0})
    run(fake_config(tmp_path / "fake"))

    with pytest.raises(ConfigError, match=r"no task 'quickstart/chioce'.*Did you mean"):
        recheck(finished, task="quickstart/chioce")
    with pytest.raises(ConfigError, match="answered by the fake engine"):
        recheck(tmp_path / "fake")
    with pytest.raises(ConfigError, match="nothing to compare"):
        recheck(drawn, task=TEXT, tell=told.append)
    assert any("its answers are drawn" in line for line in told)
    next((drawn / "predictions").rglob("*choice/*.parquet")).unlink()
    with pytest.raises(IncompleteError, match="is not finished"):
        recheck(drawn, task=CHOICE)


def test_a_checkpoint_that_has_changed_is_not_compared(tiny_llama: Path, other_llama: Path, tmp_path: Path) -> None:
    import shutil

    mine = tmp_path / "mine"
    shutil.copytree(tiny_llama, mine)
    path = _run(mine, tmp_path / "run", {})
    shutil.copy(other_llama / "model.safetensors", mine / "model.safetensors")

    with pytest.raises(ConfigError, match="its files have changed"):
        recheck(path)


def test_a_model_without_answers_is_left_out_and_one_whose_files_are_gone_is_named(tiny_llama: Path, tmp_path: Path) -> None:
    import shutil

    for name in ("one", "two"):
        shutil.copytree(tiny_llama, tmp_path / name)
    config = {
        "name": "two",
        "models": [{"checkpoint": str(tmp_path / name), "chat_template": "none"} for name in ("one", "two")],
        "tasks": [{"name": CHOICE, "limit": 4, "shots": 0}],
        "engine": {"kind": "pytorch", "device": "cpu", "threads": 1},
        "pool": "local",
        "bootstrap": 0,
        "output": str(tmp_path / "run"),
    }
    run(parse(config))
    store = RunDir.open(tmp_path / "run")
    told: list[str] = []
    store.documents.write_state({**store.documents.state(), "failed_models": {"one": "it broke"}})  # as if it had failed

    (found,) = recheck(tmp_path / "run", num_samples=2, tell=told.append)

    assert found.model == "two"
    assert "one: left out, it has no answers: it broke" in told
    (tmp_path / "two" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="two"):
        recheck(tmp_path / "run", num_samples=2)


def _run(checkpoint: Path, output: Path, engine: dict[str, Any], sampling: dict[str, Any] | None = None) -> Path:
    config = {
        "name": "small",
        "models": [{"checkpoint": str(checkpoint), "name": "tiny", "chat_template": "none"}],
        "tasks": [
            {"name": CHOICE, "limit": 8, "shots": 0},
            {"name": TEXT, "limit": 8, "shots": 0, "sampling": {"max_tokens": 8, **(sampling or {})}},
        ],
        "engine": {"kind": "pytorch", "device": "cpu", "threads": 1, **engine},
        "pool": "local",
        "bootstrap": 0,
        "output": str(output),
    }
    run(parse(config))
    return output


def test_a_recheck_comes_back_from_its_file_as_it_was(finished: Path) -> None:
    (found,) = recheck(finished, num_samples=3, task=CHOICE)

    store = RunDir.open(finished)
    assert found in store.documents.rechecks()
    store.documents.write_rechecks([replace(found, seed=7)])
    assert store.documents.rechecks() == (replace(found, seed=7),)
