"""Plain modules: every kind against a hand-written loop over single rows without padding."""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raybench.core.checkpoint import Checkpoint, Module
from raybench.core.errors import CheckpointError, ConfigError
from raybench.core.outputs import Classification, Embedding, Generation, Likelihoods, Tags, TextLikelihood
from raybench.core.protocols import Engine, EngineSpec
from raybench.core.types import ErrorCode, FinishReason, Kind, Request, Sampling
from raybench.engines.registry import make_engine
from tests.tiny_models import make_tokenizer

TEXT = (Kind.GENERATE, Kind.LOGLIKELIHOOD, Kind.ROLLING)
CAUSAL, MASKED = "configs.scratch.models:causal", "configs.scratch.models:masked"
BYTES = 263
Bring = Callable[..., Checkpoint]


def build(factory: str, arguments: dict[str, Any]) -> Any:
    module, _, name = factory.partition(":")
    return getattr(importlib.import_module(module), name)(**arguments)


@pytest.fixture
def bring(tmp_path: Path) -> Bring:
    """A module with seeded weights in a file, and a tokenizer."""

    def bring(
        factory: str, *kinds: Kind, labels: tuple[str, ...] = (), seed: int = 0, suffix: str = ".pt", style: str = "plain", **arguments: Any
    ) -> Checkpoint:
        import torch
        from safetensors.torch import save_file

        torch.manual_seed(seed)
        state = build(factory, arguments).state_dict()
        state = {name: torch.randn_like(weight) * 0.4 for name, weight in state.items()}
        path = tmp_path / f"state-{seed}{suffix}"
        if suffix == ".safetensors":
            save_file(state, path)
        else:
            torch.save(state, path)
        make_tokenizer(style).save_pretrained(tmp_path / "tokenizer")
        module = Module(factory=factory, kinds=kinds, labels=labels, arguments=arguments)
        return Checkpoint(uri=str(path), path=str(path), identity=f"m{seed}", tokenizer=str(tmp_path / "tokenizer"), module=module)

    return bring


def engine_of(checkpoint: Checkpoint, **options: Any) -> Engine:
    return make_engine(EngineSpec(kind="pytorch", checkpoint=checkpoint, options={"threads": 1, **options}))


def by_hand(checkpoint: Checkpoint) -> tuple[Any, Any]:
    """The module with its weights, and the tokenizer."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoTokenizer

    assert checkpoint.module is not None
    path = Path(checkpoint.path or "")
    module = build(checkpoint.module.factory, dict(checkpoint.module.arguments)).eval().requires_grad_(False)
    module.load_state_dict(load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True))
    return module, AutoTokenizer.from_pretrained(checkpoint.tokenizer)


def run_one(module: Any, ids: list[int]) -> Any:
    import torch

    output = module(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.long))
    return getattr(output, "logits", output)[0]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_causal_model_scores_continuations_token_by_token(bring: Bring, suffix: str) -> None:
    checkpoint = bring(CAUSAL, *TEXT, suffix=suffix, vocabulary=BYTES)
    module, tokenizer = by_hand(checkpoint)
    questions = {"ab": ("c", "de f"), "a longer": ("x", "yz"), "": ("q",)}
    requests = [Request(sample_id=q, kind=Kind.LOGLIKELIHOOD, prompt=q, delimiter="", continuations=c) for q, c in questions.items()]

    answers = engine_of(checkpoint).run(requests)

    for request, answer in zip(requests, answers, strict=True):
        assert isinstance(answer.output, Likelihoods)
        context = tokenizer.encode(request.prompt) or [tokenizer.eos_token_id]
        for n, continuation in enumerate(request.continuations):
            ids = [*context, *tokenizer.encode(continuation)]
            logprobs = run_one(module, ids).log_softmax(-1)
            own = range(len(context), len(ids))
            assert answer.output.logprobs[n] == pytest.approx(sum(logprobs[k - 1, ids[k]].item() for k in own), abs=1e-4)
            assert answer.output.is_greedy[n] == all(int(logprobs[k - 1].argmax()) == ids[k] for k in own)


def test_a_long_text_is_rolled_over_in_windows(bring: Bring) -> None:
    checkpoint = bring(CAUSAL, *TEXT, vocabulary=BYTES)
    module, tokenizer = by_hand(checkpoint)
    text = "twenty bytes of text"

    answer = engine_of(checkpoint).run([Request(sample_id="0", kind=Kind.ROLLING, prompt=text)])[0].output

    ids = tokenizer.encode(text)
    first = run_one(module, [tokenizer.eos_token_id, *ids[:15]]).log_softmax(-1)
    last = run_one(module, ids[3:19]).log_softmax(-1)  # 16 positions: the 4 that are left, behind as much context as there is room for
    expected = [first[k, ids[k]].item() for k in range(16)] + [last[k - 4, ids[k]].item() for k in range(16, 20)]
    assert isinstance(answer, TextLikelihood)
    assert (answer.num_tokens, answer.logprob) == (20, pytest.approx(math.fsum(expected), abs=1e-4))


def test_a_causal_model_writes_the_most_probable_token_again_and_again(bring: Bring) -> None:
    checkpoint = bring(CAUSAL, *TEXT, vocabulary=BYTES)
    module, tokenizer = by_hand(checkpoint)
    prompts = ("ab", "a", "abcdef", "fed")

    answers = engine_of(checkpoint).run(
        [Request(sample_id=p, kind=Kind.GENERATE, prompt=p, sampling=Sampling(max_tokens=6), keep_tokens=True) for p in prompts]
    )

    for prompt, answer in zip(prompts, answers, strict=True):
        ids, logprobs, start = tokenizer.encode(prompt), [], len(prompt)
        while len(ids) < start + 6 and (ids[-1] != tokenizer.eos_token_id or len(ids) == start):
            step = run_one(module, ids)[-1].log_softmax(-1)
            ids.append(int(step.argmax()))
            logprobs.append(step.max().item())
        assert isinstance(answer.output, Generation)
        assert answer.output.text == tokenizer.decode(ids[start:], skip_special_tokens=True)
        assert answer.output.token_logprobs == pytest.approx(logprobs, abs=1e-4)
        assert answer.num_output_tokens == len(ids) - start
        assert answer.finish_reason is (FinishReason.STOP if ids[-1] == tokenizer.eos_token_id else FinishReason.LENGTH)


def test_draws_repeat_with_their_seed(bring: Bring) -> None:
    engine = engine_of(bring(CAUSAL, *TEXT, vocabulary=BYTES))
    ask = [
        Request(sample_id="0", kind=Kind.GENERATE, prompt="ab", repeat=r, seed=s, sampling=Sampling(max_tokens=8, temperature=1.0))
        for r, s in enumerate((1, 2, 1))
    ]

    one, two, again = (p.output for p in engine.run(ask))

    assert one == again
    assert one != two


def test_a_masked_model_fills_a_hole(bring: Bring) -> None:
    checkpoint = bring(MASKED, Kind.FILL, vocabulary=BYTES)
    module, tokenizer = by_hand(checkpoint)
    requests = [
        Request(sample_id=t, kind=Kind.FILL, prompt=t, continuations=("x", "y")) for t in ("a[MASK]c", "long[MASK]er text", "[MASK]")
    ]

    answers = engine_of(checkpoint).run(requests)

    for request, answer in zip(requests, answers, strict=True):
        ids = tokenizer.encode(request.prompt)
        logprobs = run_one(module, ids)[ids.index(tokenizer.mask_token_id)].log_softmax(-1)
        assert isinstance(answer.output, Likelihoods)
        expected = [logprobs[tokenizer.convert_tokens_to_ids(c)].item() for c in "xy"]
        assert answer.output.logprobs == pytest.approx(expected, abs=1e-5)


def test_a_classifier_gives_logits_in_the_task_s_order(bring: Bring) -> None:
    checkpoint = bring("tests.own_modules:Bag", Kind.CLASSIFY, labels=("no", "yes"), vocabulary=BYTES, num_labels=2)
    module, tokenizer = by_hand(checkpoint)
    texts = ("a", "longer text", "mid")

    answers = engine_of(checkpoint, max_length=32).run(
        [Request(sample_id=t, kind=Kind.CLASSIFY, prompt=t, labels=("Yes", "No")) for t in texts]
    )

    for text, answer in zip(texts, answers, strict=True):
        no, yes = run_one(module, tokenizer.encode(text)).tolist()
        assert isinstance(answer.output, Classification)
        assert answer.output.logits == pytest.approx((yes, no), abs=1e-5)
        assert answer.output.label == ("Yes" if yes > no else "No")


@pytest.mark.parametrize("name", ["Tagger", "Alternating"])
def test_a_tagger_labels_words_by_logits_or_by_its_own_decoding(bring: Bring, name: str) -> None:
    import torch

    checkpoint = bring(f"tests.own_modules:{name}", Kind.TAG, labels=("O", "X", "Y"), vocabulary=BYTES, num_labels=3)
    module, tokenizer = by_hand(checkpoint)
    sentences = ("a b c d", "abc d", "one two three")

    answers = engine_of(checkpoint, max_length=32).run([Request(sample_id=s, kind=Kind.TAG, words=tuple(s.split())) for s in sentences])

    for sentence, answer in zip(sentences, answers, strict=True):
        ids = tokenizer.encode("".join(sentence.split()))
        numbers = run_one(module, ids).argmax(-1).tolist()
        if name == "Alternating":
            numbers = module.decode(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.long))[0]
            assert all(a != b for a, b in itertools.pairwise(numbers))
        starts = [sum(map(len, sentence.split()[:k])) for k in range(len(sentence.split()))]
        assert isinstance(answer.output, Tags)
        assert answer.output.labels == tuple("OXY"[numbers[k]] for k in starts)


def test_vectors_are_means_of_token_states(bring: Bring) -> None:
    checkpoint = bring("tests.own_modules:Encoder", Kind.EMBED, vocabulary=BYTES)
    module, tokenizer = by_hand(checkpoint)

    answers = engine_of(checkpoint, max_length=32).run([Request(sample_id=t, kind=Kind.EMBED, prompt=t) for t in ("a", "longer")])

    for answer in answers:
        mean = run_one(module, tokenizer.encode(answer.sample_id)).mean(0)
        assert isinstance(answer.output, Embedding)
        assert answer.output.vector == pytest.approx((mean / mean.norm()).tolist(), abs=1e-5)


def test_other_weights_of_the_module_are_swapped_in(bring: Bring) -> None:
    one, two = (bring(CAUSAL, *TEXT, seed=s, vocabulary=BYTES) for s in (1, 2))
    engine, ask = engine_of(one), [Request(sample_id="0", kind=Kind.LOGLIKELIHOOD, prompt="a", continuations=("b",))]
    before = engine.run(ask)

    assert engine.load(two)
    assert engine.run(ask) == engine_of(two).run(ask) != before
    assert not engine.load(Checkpoint(uri="other", path="other"))


def test_what_the_module_is_not_for_is_an_error_row(bring: Bring) -> None:
    engine = engine_of(bring(CAUSAL, *TEXT, vocabulary=BYTES))

    rows = engine.run(
        [
            Request(sample_id="0", kind=Kind.EMBED, prompt="a"),
            Request(sample_id="1", kind=Kind.GENERATE, prompt="far too long for sixteen", sampling=Sampling(max_tokens=2)),
            Request(sample_id="2", kind=Kind.LOGLIKELIHOOD, prompt="a", continuations=("b",)),
        ]
    )

    assert [r.error_code for r in rows] == [ErrorCode.REFUSED, ErrorCode.OVERLONG, None]


def test_further_turns_are_asked_as_if_by_hand(bring: Bring) -> None:
    engine, sampling = engine_of(bring(CAUSAL, *TEXT, vocabulary=BYTES)), Sampling(max_tokens=2)

    whole, first = engine.run(
        [
            Request(sample_id="0", kind=Kind.GENERATE, prompt="a", turns=("b",), sampling=sampling),
            Request(sample_id="1", kind=Kind.GENERATE, prompt="a", sampling=sampling),
        ]
    )

    assert isinstance(whole.output, Generation)
    assert isinstance(first.output, Generation)
    by_hand = Request(sample_id="2", kind=Kind.GENERATE, prompt=f"a {first.output.text}\n\nb", sampling=sampling)
    (second,) = engine.run([by_hand])
    assert isinstance(second.output, Generation)
    assert whole.output.turns == (first.output.text, second.output.text)
    assert whole.output.text == second.output.text


def test_a_module_that_cannot_be_had_is_refused_with_the_reason(bring: Bring, tmp_path: Path) -> None:
    import pickle
    from dataclasses import replace

    import torch

    good = bring(CAUSAL, *TEXT, vocabulary=BYTES)
    assert good.module is not None

    def broken(message: str, state: Any = None, **module: Any) -> None:
        checkpoint = replace(good, module=replace(good.module, **module))
        if state is not None:
            path = tmp_path / "broken.pt"
            path.write_bytes(state if isinstance(state, bytes) else b"")
            if not isinstance(state, bytes):
                torch.save(state, path)
            checkpoint = replace(checkpoint, path=str(path))
        with pytest.raises(CheckpointError, match=message):
            engine_of(checkpoint)

    broken(r"No module named 'nowhere'", factory="nowhere:build")
    broken(r"has no attribute 'gone'", factory="configs.scratch.models:gone")
    broken(r"TypeError: .*unexpected keyword argument 'size'", arguments={"vocabulary": BYTES, "size": 3})
    broken(r"expected a torch\.nn\.Module, it gave a str", factory="tests.own_modules:nothing", arguments={})
    broken(r"\d+ weights are of another shape: tokens\.weight", arguments={"vocabulary": 9})
    broken(r"\d+ weights are missing: blocks", state={"tokens.weight": torch.zeros(1)})
    broken(r"expected a mapping of names to tensors", state=[1, 2])
    broken(r"cannot be read as weights", state=pickle.dumps(print, protocol=2))  # a function would be called: never unpickled
    broken(r"cannot be read as weights", state=b"no such thing")


def test_a_module_that_does_not_say_its_length_needs_the_option(bring: Bring) -> None:
    checkpoint = bring("tests.own_modules:Encoder", Kind.EMBED, vocabulary=BYTES)

    with pytest.raises(ConfigError, match="nobody says how many tokens the module reads at once"):
        engine_of(checkpoint)
    with pytest.raises(ConfigError, match="17 is more than the module's own max_length 16"):
        engine_of(bring(CAUSAL, *TEXT, vocabulary=BYTES), max_length=17)
