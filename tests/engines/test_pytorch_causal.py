from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raybench.core.checkpoint import Checkpoint
from raybench.core.errors import CheckpointError
from raybench.core.outputs import Generation, Likelihoods, TextLikelihood
from raybench.core.protocols import EngineSpec
from raybench.core.types import ErrorCode, FinishReason, Kind, Prediction, Request, Sampling, Shot
from raybench.engines.pytorch_causal import PytorchCausalEngine

SHOTS = tuple(Shot(question=f"What is {i} and {i}?", answer=str(2 * i)) for i in range(3))
CHOICES = [
    Request(sample_id="empty", kind=Kind.LOGLIKELIHOOD, prompt="", continuations=("yes", "no")),
    Request(sample_id="bos", kind=Kind.LOGLIKELIHOOD, prompt="", delimiter="", continuations=("<s>yes", "no")),
    Request(sample_id="space", kind=Kind.LOGLIKELIHOOD, prompt="The cat \n", continuations=("sat", " on")),
    Request(sample_id="one", kind=Kind.LOGLIKELIHOOD, prompt="Which letter?", delimiter="", continuations=("A", "B", "C", "D")),
    *(Request(sample_id=f"s{i}", kind=Kind.LOGLIKELIHOOD, shots=SHOTS, prompt=f"And {i * i * i}?", continuations=("1", "two", "a long one")) for i in range(12)),
    Request(sample_id="long", kind=Kind.LOGLIKELIHOOD, prompt="word " * 80, continuations=("end", "x")),
]  # fmt: skip


def make(folder: Path, checkpoint: dict[str, Any] | None = None, **options: Any) -> PytorchCausalEngine:
    place = Checkpoint(uri=str(folder), path=str(folder), **(checkpoint or {}))
    return PytorchCausalEngine(EngineSpec(kind="pytorch", checkpoint=place, options={"threads": 1, "dtype": "float32", **options}))


@pytest.fixture(scope="module")
def engine(tiny_llama: Path) -> Iterator[PytorchCausalEngine]:
    engine = make(tiny_llama)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def model(tiny_llama: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_llama).float().eval()


@pytest.fixture(scope="module")
def tokenizer(tiny_llama: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_llama)


@pytest.fixture(scope="module")
def harness(model: Any, tokenizer: Any) -> Any:
    """lm-evaluation-harness 0.4.13 on the same model."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=4, device="cpu")


def instances(kind: str, arguments: list[tuple[Any, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(request_type=kind, doc={}, arguments=a, idx=i) for i, a in enumerate(arguments)]


def likelihoods(prediction: Prediction) -> Likelihoods:
    assert isinstance(prediction.output, Likelihoods), prediction.error_message
    return prediction.output


def text(prediction: Prediction) -> str:
    assert isinstance(prediction.output, Generation), prediction.error_message
    return prediction.output.text


@pytest.mark.parametrize("shares", [True, False])
def test_likelihoods_are_those_of_lm_eval(engine: PytorchCausalEngine, harness: Any, shares: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(r.context, r.delimiter + c) for r in CHOICES for c in r.continuations]
    expected = harness.loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True)
    assert engine._scorer.masks is not None  # a Llama can
    if not shares:
        monkeypatch.setattr(engine._scorer, "masks", None)

    found = [likelihoods(p) for p in engine.run(CHOICES)]

    logprobs = [x for o in found for x in o.logprobs]
    assert logprobs == pytest.approx([x for x, _ in expected], abs=2e-4)
    assert [x for o in found for x in o.is_greedy] == [x for _, x in expected]


def test_a_likelihood_is_that_of_a_plain_forward_pass(engine: PytorchCausalEngine, model: Any, tokenizer: Any) -> None:
    import torch

    context, continuation = tokenizer.encode("The cat"), tokenizer.encode(" sat down")
    with torch.no_grad():
        logprobs = model(torch.tensor([context + continuation])).logits[0].log_softmax(-1)
    expected = sum(float(logprobs[len(context) + i - 1, t]) for i, t in enumerate(continuation))

    request = Request(sample_id="s", kind=Kind.LOGLIKELIHOOD, prompt="The cat", continuations=("sat down",))
    found = likelihoods(engine.run([request])[0])

    assert found.logprobs[0] == pytest.approx(expected, abs=2e-4)
    assert found.num_tokens == (len(continuation),)


def test_the_most_probable_continuation_is_greedy(engine: PytorchCausalEngine) -> None:
    prompt = "Tell me"
    answer = text(engine.run([Request(sample_id="s", kind=Kind.GENERATE, prompt=prompt, sampling=Sampling(max_tokens=1))])[0])

    request = Request(sample_id="s", kind=Kind.LOGLIKELIHOOD, prompt=prompt, delimiter="", continuations=(answer, "zzz"))

    assert likelihoods(engine.run([request])[0]).is_greedy == (True, False)


def test_a_cut_context_is_scored_as_lm_eval_does(tiny_llama: Path, model: Any, tokenizer: Any) -> None:
    from lm_eval.models.huggingface import HFLM

    harness = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=1, device="cpu", max_length=64)
    request = Request(sample_id="s", kind=Kind.LOGLIKELIHOOD, prompt="once upon a time " * 9, continuations=("end", "a longer end"))
    expected = harness.loglikelihood(instances("loglikelihood", [(request.prompt, " " + c) for c in request.continuations]))

    prediction = make(tiny_llama, max_length=64, overlong="truncate_left").run([request])[0]

    assert likelihoods(prediction).logprobs == pytest.approx([x for x, _ in expected], abs=2e-4)
    # 152 tokens of context (its last space moves); 64 + 1 - 14 are kept for the longer continuation
    assert prediction.num_truncated_tokens == 152 - (64 + 1 - 14)


def test_a_continuation_longer_than_the_context_is_an_error_row(tiny_llama: Path) -> None:
    engine = make(tiny_llama, max_length=16, overlong="truncate_left")

    row = engine.run([Request(sample_id="s", kind=Kind.LOGLIKELIHOOD, prompt="a", continuations=("b" * 20,))])[0]

    assert row.error_code is ErrorCode.OVERLONG


@pytest.mark.parametrize("words", [1, 30, 200])  # less than a window of 512, and more
def test_a_text_is_scored_as_lm_eval_does(engine: PytorchCausalEngine, harness: Any, words: int) -> None:
    page = " ".join(f"word{i}" for i in range(words))
    expected = harness.loglikelihood_rolling(instances("loglikelihood_rolling", [(page,)]), disable_tqdm=True)

    output = engine.run([Request(sample_id="s", kind=Kind.ROLLING, prompt=page)])[0].output

    assert isinstance(output, TextLikelihood)
    assert output.logprob == pytest.approx(expected[0], rel=1e-5)
    assert output.num_tokens == len(page)  # a byte is a token


@pytest.mark.parametrize("prompts", [["Tell me"], ["Tell me", "What is the capital of France?", "A", "long " * 30]])
def test_greedy_answers_are_those_of_generate(engine: PytorchCausalEngine, model: Any, tokenizer: Any, prompts: list[str]) -> None:
    expected = []
    for prompt in prompts:
        ids = tokenizer(prompt, return_tensors="pt")
        new = model.generate(
            input_ids=ids["input_ids"], attention_mask=ids["attention_mask"], do_sample=False, max_new_tokens=20, pad_token_id=1
        )
        expected.append(tokenizer.decode(new[0, ids["input_ids"].shape[1] :], skip_special_tokens=True))

    requests = [Request(sample_id=str(i), kind=Kind.GENERATE, prompt=p, sampling=Sampling(max_tokens=20)) for i, p in enumerate(prompts)]

    assert [text(p) for p in engine.run(requests)] == expected


def test_answers_with_stops_are_those_of_lm_eval(engine: PytorchCausalEngine, harness: Any) -> None:
    prompts = [f"{i} bottles" for i in range(6)]
    plain = [Request(sample_id=str(i), kind=Kind.GENERATE, prompt=p, sampling=Sampling(max_tokens=24)) for i, p in enumerate(prompts)]
    stops = tuple(text(p)[5:7] for p in engine.run(plain)[:3])
    arguments = [(p, {"until": list(stops), "max_gen_toks": 24, "do_sample": False}) for p in prompts]
    expected = harness.generate_until(instances("generate_until", arguments), disable_tqdm=True)

    requests = [replace(r, sampling=Sampling(max_tokens=24, stop=stops)) for r in plain]

    assert [text(p) for p in engine.run(requests)] == expected


def test_small_batches_give_the_same_answers(engine: PytorchCausalEngine, tiny_llama: Path) -> None:
    requests = [
        Request(sample_id=str(i), kind=Kind.GENERATE, prompt="a b c " * i, sampling=Sampling(max_tokens=10 + i)) for i in range(1, 7)
    ]
    small = make(tiny_llama, batch_tokens=1)

    assert [text(p) for p in small.run(requests)] == [text(p) for p in engine.run(requests)]
    assert [likelihoods(p).logprobs for p in small.run(CHOICES)] == [
        pytest.approx(likelihoods(p).logprobs, abs=2e-4) for p in engine.run(CHOICES)
    ]


def test_an_end_token_of_the_generation_config_ends_an_answer(tiny_llama: Path, tmp_path: Path, tokenizer: Any) -> None:
    import json

    ask = Request(sample_id="s", kind=Kind.GENERATE, prompt="Tell me", sampling=Sampling(max_tokens=12))
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "m"))
    whole = text(make(folder).run([ask])[0])
    third = tokenizer.encode(whole)[2]
    # and its other settings do not reach the answer
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [third], "repetition_penalty": 5.0, "max_length": 3}))

    prediction = make(folder).run([ask])[0]

    assert text(prediction) == whole[: whole.index(tokenizer.decode([third]))]
    assert prediction.finish_reason is FinishReason.STOP


def test_a_draw_depends_on_its_seed_and_not_on_its_neighbours(engine: PytorchCausalEngine) -> None:
    sampling = Sampling(max_tokens=16, temperature=1.5, top_p=0.95, top_k=100, min_p=0.001)
    ask = Request(sample_id="s", kind=Kind.GENERATE, prompt="Tell me", sampling=sampling, seed=7)
    others = [replace(ask, sample_id=str(i), prompt=f"Other {i}" * i, seed=i) for i in range(5)]

    alone = text(engine.run([ask])[0])
    among = text(engine.run([*others[:2], ask, *others[2:]])[2])
    changed = text(engine.run([ask, *(replace(o, seed=o.seed and o.seed + 100) for o in others)])[0])

    assert alone == among == changed
    assert alone != text(engine.run([replace(ask, seed=8)])[0])


def poisoned(tiny_llama: Path, folder: Path, token: int) -> Path:
    """The tiny model with an embedding row of NaN: only texts with this token are struck."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_llama, folder)
    state = load_file(folder / "model.safetensors")
    # the output layer must not be NaN as well, or every softmax is
    state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()
    state["model.embed_tokens.weight"][token] = math.nan
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"tie_word_embeddings": true', '"tie_word_embeddings": false'))
    return folder


def test_nan_is_an_error_row_and_leaves_the_neighbours_alone(tiny_llama: Path, tmp_path: Path, tokenizer: Any) -> None:
    engine = make(poisoned(tiny_llama, tmp_path / "m", tokenizer.encode("Z")[0]))
    clean = CHOICES[2:6]
    struck = Request(sample_id="z", kind=Kind.LOGLIKELIHOOD, prompt="a Z b", continuations=("c", "d"))
    write = [Request(sample_id=p, kind=Kind.GENERATE, prompt=p, sampling=Sampling(max_tokens=4)) for p in ("a", "Z", "bcd")]
    page = [Request(sample_id=p, kind=Kind.ROLLING, prompt=p) for p in ("a b", "a Z b")]

    assert engine._scorer.masks
    *rows, row = engine.run([*clean, struck])

    assert (row.error_code, row.output) == (ErrorCode.NONFINITE, None)
    assert [likelihoods(p).logprobs for p in rows] == [
        pytest.approx(likelihoods(p).logprobs, abs=2e-4) for p in make(tiny_llama).run(clean)
    ]
    assert [p.error_code for p in engine.run(write)] == [None, ErrorCode.NONFINITE, None]
    assert [p.error_code for p in engine.run(page)] == [None, ErrorCode.NONFINITE]


def test_a_swap_gives_the_rows_of_a_fresh_engine(tiny_llama: Path, other_llama: Path) -> None:
    requests = [*CHOICES, *(replace(r, kind=Kind.GENERATE, sampling=Sampling(max_tokens=8)) for r in CHOICES)]
    engine = make(tiny_llama)
    before = engine.run(requests)

    assert engine.load(Checkpoint(uri="other", path=str(other_llama)))
    after = engine.run(requests)

    assert after == make(other_llama).run(requests)
    assert after != before


def test_another_architecture_is_not_swapped_in(tiny_llama: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "m"))
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"num_attention_heads": 4', '"num_attention_heads": 2'))

    assert make(tiny_llama).load(Checkpoint(uri="m", path=str(folder))) is False


def test_a_broken_checkpoint_is_not_swapped_in_and_the_engine_lives_on(tiny_llama: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "m"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    engine = make(tiny_llama)
    before = engine.run(CHOICES)

    with pytest.raises(CheckpointError, match="truncated"):
        engine.load(Checkpoint(uri="m", path=str(folder)))
    assert engine.run(CHOICES) == before


def test_a_template_that_refuses_the_system_role_is_an_error_row(tiny_llama: Path) -> None:
    template = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ m.content }}{% endfor %}"
    engine = make(tiny_llama, {"chat_template": template})
    ask = Request(sample_id="s", kind=Kind.GENERATE, prompt="Tell me", sampling=Sampling(max_tokens=4))

    fine, refused = engine.run([ask, replace(ask, sample_id="t", description="Be brief.")])

    assert fine.error_code is None
    assert refused.error_code is ErrorCode.TEMPLATE


def test_the_engine_knows_whether_there_is_a_template(engine: PytorchCausalEngine) -> None:
    assert engine.has_chat_template


ODD = ["gpt2", "gpt_neox", "bloom", "mistral", "gemma2"]


@pytest.mark.parametrize("family", ODD)
def test_other_architectures_agree_with_lm_eval(family: str, tiny_llama: Path, tmp_path: Path, tokenizer: Any) -> None:
    """Absolute positions, ALiBi without positions as argument, sliding windows, soft-capped logits: packed or not, the same numbers."""
    import torch
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoConfig, AutoModelForCausalLM

    settings: dict[str, dict[str, Any]] = {
        "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 512},
        "gpt_neox": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 512},
        "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 2},
        "mistral": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 64, "sliding_window": 8},
        "gemma2": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 64, "head_dim": 16, "sliding_window": 8},
    }  # fmt: skip
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, vocab_size=260, bos_token_id=0, eos_token_id=1, pad_token_id=1, **settings[family])
    model = AutoModelForCausalLM.from_config(config).float().eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    options = {"max_length": 512, "attn_implementation": "eager"} if family == "bloom" else {}
    harness = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=1, device="cpu", max_length=512)
    expected = harness.loglikelihood(instances("loglikelihood", [(r.context, r.delimiter + c) for r in CHOICES for c in r.continuations]))
    prompts = ["Tell me", "What is the capital of France?"]
    written = harness.generate_until(
        instances("generate_until", [(p, {"until": [], "max_gen_toks": 12, "do_sample": False}) for p in prompts])
    )

    engine = make(tmp_path, **options)
    found = [x for p in engine.run(CHOICES) for x in likelihoods(p).logprobs]
    answers = engine.run([Request(sample_id=p, kind=Kind.GENERATE, prompt=p, sampling=Sampling(max_tokens=12)) for p in prompts])

    assert found == pytest.approx([x for x, _ in expected], abs=2e-4)
    assert [text(a) for a in answers] == written
    assert (engine._scorer.masks is None) == (family == "bloom")
