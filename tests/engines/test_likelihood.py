from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.engines.items import Item
from raybench.engines.likelihood import Scorer
from tests.engines.families import FAMILIES, SHARES_NOTHING, make_family

BEGINNINGS = [[7] * 40, [7] * 40 + list(range(30, 80)), list(range(100, 130))]
TOKENS = st.lists(st.integers(2, 259), min_size=1, max_size=6)
CONTEXTS = st.builds(lambda a, n, b: [*a[:n], *b], st.sampled_from(BEGINNINGS), st.integers(0, 90), TOKENS)
ITEMS = st.lists(
    st.builds(lambda c, o: Item(context=c, continuations=o), CONTEXTS, st.lists(TOKENS, min_size=1, max_size=4)), min_size=1, max_size=7
)
MIXED = [
    Item(context=[*BEGINNINGS[1], n, 5, n], continuations=[[n], [n, 4], [n, 4, 9], [88, n]]) for n in (3, 4, 200)
] + [Item(context=[9], continuations=[[8, 8]])]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small are slower with two, and far slower when both cores are busy."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def models(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("families")
    return {f: AutoModelForCausalLM.from_pretrained(make_family(f, folder / f, tiny_llama)).eval() for f in FAMILIES}


def plainly(model: Any, items: list[Item]) -> list[list[tuple[list[float], bool]]]:
    """Token log-probabilities and greediness of each continuation, by a hand-written loop: one row at a time, no cache, no mask."""
    import torch

    found = []
    for item in items:
        mine = []
        for continuation in item.continuations:
            with torch.inference_mode():
                logits = (
                    model(torch.tensor([[*item.context, *continuation]]), use_cache=False).logits[0, len(item.context) - 1 : -1].float()
                )
            at = torch.tensor(continuation)
            chosen = logits.log_softmax(-1).gather(1, at[:, None])[:, 0]
            mine.append((chosen.tolist(), bool((logits.argmax(-1) == at).all())))
        found.append(mine)
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_a_plain_loop(models: dict[str, Any], family: str) -> None:
    scorer = Scorer(models[family], batch_tokens=1024)
    expected = plainly(models[family], MIXED)

    assert (scorer.masks is None) == (family in SHARES_NOTHING)
    assert (scorer.notice is None) == (scorer.masks is not None)
    for found in (scorer.score(MIXED), scorer.score_apart(MIXED)):
        for score, (tokens, is_greedy) in zip(itertools.chain(*found), itertools.chain(*expected), strict=True):
            assert score.logprobs == pytest.approx(tokens, abs=1e-4)
            assert score.logprob == pytest.approx(sum(tokens), abs=2e-4)
            assert score.is_greedy == is_greedy


@pytest.fixture(scope="module")
def scorers(models: dict[str, Any]) -> dict[str, Scorer]:
    # one for each kind of attention: everything before, windows in all layers, windows in some, learned positions, a state
    return {f: Scorer(models[f], batch_tokens=8192) for f in ("llama", "mistral", "gemma3_text", "opt", "mamba")}


@settings(max_examples=12)
@given(items=ITEMS, batch_tokens=st.sampled_from([1, 600, 1500, 8192]))
@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3_text", "opt", "mamba"])
def test_sharing_and_rows_and_a_plain_loop_agree(
    models: dict[str, Any], scorers: dict[str, Scorer], family: str, items: list[Item], batch_tokens: int
) -> None:
    scorer = scorers[family]
    scorer.batch_tokens = batch_tokens  # pieces of 16 to 256 tokens: cut inside contexts and options
    expected = [[sum(tokens) for tokens, _ in of_item] for of_item in plainly(models[family], items)]

    for found in (scorer.score(items), scorer.score_apart(items)):
        assert [[s.logprob for s in of_item] for of_item in found] == [pytest.approx(e, abs=2e-4) for e in expected]


def test_a_model_that_ignores_the_mask_is_found_out(models: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = models["llama"]
    inner = model.model.forward
    monkeypatch.setattr(model.model, "forward", lambda *a, **k: inner(*a, **{**k, "attention_mask": None}))

    scorer = Scorer(model, batch_tokens=1024)

    assert scorer.masks is None
    assert "differ by" in str(scorer.notice)


def test_every_token_of_a_shard_is_computed_once(models: dict[str, Any]) -> None:
    scorer = Scorer(models["llama"], batch_tokens=1024)
    description, shots, questions = [3] * 50, [4] * 100, [[n] * 5 for n in range(10, 20)]
    items = [Item(context=[*description, *shots, *q], continuations=[[1, 2, 9], [1, 3]]) for q in questions]
    items += [Item(context=[*description, *q], continuations=[[1, 2]]) for q in questions]
    assert scorer.masks is not None  # measured before anything is counted
    seen = 0

    def count(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal seen
        seen += kwargs["input_ids"].numel()

    hook = scorer._model.register_forward_pre_hook(count, with_kwargs=True)
    scorer.score(items)
    hook.remove()

    # the description, the shots behind it, ten questions behind each, and behind those `1 2` (`1 3` reads no more than `1`) and `1`
    assert seen == 50 + 100 + 10 * (5 + 2) + 10 * (5 + 1)
