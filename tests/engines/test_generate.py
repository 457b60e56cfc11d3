from __future__ import annotations

from random import Random
from typing import Any

import pytest

from raybench.core.types import FinishReason, Sampling
from raybench.engines.answer import AnswerReader
from raybench.engines.generate import Generator
from raybench.engines.rows import Row

SMALL = {"vocab_size": 200, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 256}
GROUPED = {**SMALL, "num_key_value_heads": 2, "intermediate_size": 96}
WIDE = {**SMALL, "intermediate_size": 96}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", GROUPED),
    "mistral": ("Mistral", {**GROUPED, "sliding_window": 24, "head_dim": 16}),  # shorter than the prompts
    "qwen2": ("Qwen2", GROUPED),
    "qwen3": ("Qwen3", {**GROUPED, "head_dim": 16}),
    "gemma": ("Gemma", {**GROUPED, "head_dim": 16}),
    "gemma3": ("Gemma3Text", {**GROUPED, "head_dim": 16, "sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}),
    "gpt2": ("GPT2", {"vocab_size": 200, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256}),
    "gpt_neox": ("GPTNeoX", WIDE),
    "opt": ("OPT", {**SMALL, "ffn_dim": 96, "word_embed_proj_dim": 64}),
    "phi": ("Phi", WIDE),
    "phi3": ("Phi3", {**GROUPED, "pad_token_id": 0}),
    "olmo2": ("Olmo2", GROUPED),
    "mixtral": ("Mixtral", {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}),
}
PLAIN: dict[str, tuple[str, dict[str, Any]]] = {
    "bloom": ("Bloom", {"vocab_size": 200, "hidden_size": 64, "n_layer": 2, "n_head": 4}),  # a bias on attention for positions
    "stablelm": ("StableLm", GROUPED),  # hands nothing on to its attention
    "gemma2": ("Gemma2", {**GROUPED, "head_dim": 16, "sliding_window": 16, "attn_logit_softcapping": 5.0}),
    "falcon": ("Falcon", {**SMALL, "alibi": False}),
    "mamba": ("Mamba", {"vocab_size": 200, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 4}),  # a state that takes padding in
}


class Letters:
    """A tokenizer with a letter for each token, which is all that generating needs of one."""

    all_special_tokens = ("Z",)

    def decode(self, tokens: list[int], skip_special_tokens: bool) -> str:
        return "".join(chr(0x100 + t) for t in tokens)

    def convert_tokens_to_ids(self, token: str) -> int:
        return ord(token)


def make(name: str, *, seed: int = 0, **changes: Any) -> Any:
    import torch
    import transformers

    kind, values = (FAMILIES | PLAIN)[name]
    torch.manual_seed(seed)
    config = getattr(transformers, f"{kind}Config")(**values, **changes, bos_token_id=0, eos_token_id=1)
    # weights large enough for what stands far ahead to matter
    config.initializer_range = 0.1
    return transformers.AutoModelForCausalLM.from_config(config).float().eval()


def prompts() -> list[list[int]]:
    """Twenty tokens for all, further twenty for some, ends of several lengths; two are equal, one begins another, one shares nothing."""
    draw = Random(5)
    head, more = [draw.randrange(2, 200) for _ in range(20)], [draw.randrange(2, 200) for _ in range(20)]
    found = [[*head, *(more if i % 2 else []), *[draw.randrange(2, 200) for _ in range(1 + 3 * i)]] for i in range(7)]
    return [*found, list(found[3]), found[5][:30], [7, 8, 9]]


def complete(generator: Generator, asked: list[list[int]], **sampling: Any) -> list[Row]:
    chosen = Sampling(**{"max_tokens": 10, **sampling})
    rows = [Row(prompt=list(p), sampling=chosen, draw=Random(i) if chosen.temperature else None) for i, p in enumerate(asked)]
    generator.run(rows)
    return rows


def expected_of(model: Any, asked: list[list[int]], eos: int = 1, max_tokens: int = 10) -> list[list[int]]:
    """transformers' own greedy `generate`, one prompt at a time."""
    import torch

    found = []
    for prompt in asked:
        ids = torch.tensor([prompt])
        options = {"do_sample": False, "max_new_tokens": max_tokens, "eos_token_id": eos, "pad_token_id": 0}
        new = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options)[0, len(prompt) :].tolist()
        found.append(new[: new.index(eos)] if eos in new else new)
    return found


def generator_of(model: Any, *, batch_tokens: int = 8192, eos: int = 1, think_end: str | None = None) -> Generator:
    return Generator(model, AnswerReader(Letters(), think_end), eos=frozenset({eos}), batch_tokens=batch_tokens)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    """Tiny models gain nothing from more, and lose much on a busy machine."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def llama() -> Any:
    return make("llama")


@pytest.mark.parametrize("name", list(FAMILIES))
def test_greedy_answers_of_a_family_are_those_of_generate(name: str) -> None:
    model = make(name)

    generator = generator_of(model)

    assert generator.shares
    assert generator.notice is None
    assert [r.new for r in complete(generator, prompts())] == expected_of(model, prompts())


@pytest.mark.parametrize("name", list(PLAIN))
def test_a_family_with_another_attention_is_generated_the_plain_way_and_says_so(name: str) -> None:
    model = make(name)

    generator = generator_of(model)

    assert not generator.shares
    assert generator.notice is not None
    assert [r.new for r in complete(generator, prompts())] == expected_of(model, prompts())


@pytest.mark.parametrize("batch_tokens", [8192, 60, 25, 1])  # all rows at once, a few with refills, one after the other
@pytest.mark.parametrize("shares", [True, False])
def test_what_runs_together_does_not_change_greedy_answers(llama: Any, batch_tokens: int, shares: bool) -> None:
    end = complete(generator_of(llama), prompts())[2].new[4]  # comes early in some answers: rows end at different times
    expected = expected_of(llama, prompts(), eos=end)
    generator = generator_of(llama, batch_tokens=batch_tokens, eos=end)
    generator.shares = shares

    rows = complete(generator, prompts())

    assert [r.new for r in rows] == expected
    assert {r.finish for r in rows} == {FinishReason.STOP, FinishReason.LENGTH}


def test_a_prefix_is_read_once_and_repeats_are_read_once(llama: Any) -> None:
    read: list[int] = []
    generator = generator_of(llama)
    assert generator.shares  # measured before anything is counted
    hook = llama.register_forward_pre_hook(lambda _, args, kwargs: read.append(kwargs["input_ids"].numel()), with_kwargs=True)
    prefix = [5 + i % 90 for i in range(100)]

    complete(generator, [[*prefix, 7, 8]] * 4 + [[*prefix, 9, 10, 11]] * 4, max_tokens=1)
    hook.remove()

    assert sum(read) == 100 + 2 + 3


def test_a_long_prefix_stays_shared_while_answers_are_written(llama: Any) -> None:
    draw = Random(1)
    prefix = [draw.randrange(2, 200) for _ in range(150)]
    asked = [[*prefix, *[draw.randrange(2, 200) for _ in range(n)]] for n in (3, 9, 5, 1, 7, 7, 2, 4, 6, 8)]
    asked += [[9, *prefix, *[draw.randrange(2, 200) for _ in range(n)]] for n in (3, 9, 5, 1, 7, 7, 2, 4, 6, 8)]  # and another one

    assert [r.new for r in complete(generator_of(llama), asked)] == expected_of(llama, asked)


def test_draws_are_reproducible_and_do_not_depend_on_the_neighbours(llama: Any) -> None:
    generator = generator_of(llama)
    sampling = {"temperature": 1.0, "top_p": 0.9, "top_k": 50}
    whole = [r.new for r in complete(generator, prompts(), **sampling)]

    assert [r.new for r in complete(generator, prompts(), **sampling)] == whole
    assert [r.new for r in complete(generator, prompts()[:3], **sampling)] == whole[:3]
    assert complete(generator, [prompts()[0]] * 2, **sampling)[0].new != complete(generator, [prompts()[0]] * 2, **sampling)[1].new


def test_kept_log_probabilities_are_those_of_a_plain_forward_pass(llama: Any) -> None:
    import torch

    row = Row(
        prompt=prompts()[4], sampling=Sampling(max_tokens=6, temperature=0.7, repetition_penalty=1.3), draw=Random(0), keep_tokens=True
    )
    generator_of(llama).run([row])

    with torch.no_grad():
        logprobs = llama(torch.tensor([row.prompt + row.new])).logits[0].log_softmax(-1)
    expected = [float(logprobs[len(row.prompt) - 1 + i, t]) for i, t in enumerate(row.new)]
    assert row.logprobs[: len(row.new)] == pytest.approx(expected, abs=1e-4)
    assert len(row.logprobs) == row.num_new


@pytest.mark.parametrize("shares", [True, False])
@pytest.mark.parametrize("kept", ["all", "some", "nothing"])
def test_a_further_turn_is_answered_as_if_asked_by_hand(llama: Any, shares: bool, kept: str) -> None:
    generator = generator_of(llama, batch_tokens=40)
    generator.shares = shares
    asked = prompts()

    def next_prompt(prompt: list[int], answer: list[int]) -> list[int]:
        return {"all": [*prompt, *answer, 5, 6], "some": [*prompt[:-1], 9, *answer, 5], "nothing": [3, *prompt, *answer]}[kept]

    def follow(row: Row) -> list[int] | None:
        row.follow = lambda _: None
        return next_prompt(row.prompt, row.new)

    rows = [Row(prompt=list(p), sampling=Sampling(max_tokens=6), draw=None, follow=follow) for p in asked]
    generator.run(rows)

    first = expected_of(llama, asked, max_tokens=6)
    second = [next_prompt(p, a) for p, a in zip(asked, first, strict=True)]
    assert [r.prompt for r in rows] == second
    assert [r.new for r in rows] == expected_of(llama, second, max_tokens=6)


def test_stop_strings_count_only_behind_the_reasoning(llama: Any) -> None:
    letters, asked = Letters(), [prompts()[1]]
    sampling = {"max_tokens": 12, "repetition_penalty": 9.0}  # no letter comes twice
    free = complete(generator_of(llama), asked, **sampling)[0].new
    assert len(set(free)) == len(free) == 12
    stop, think_end, later = (letters.decode(free[a:b], False) for a, b in ((2, 3), (4, 6), (8, 9)))
    row = complete(generator_of(llama, think_end=think_end), asked, **sampling, stop=(stop, later))[0]

    assert row.new == free[:9]
    read = AnswerReader(letters, think_end).read(row.new, row.sampling.stop, is_stopped=True)
    assert read == (letters.decode(free[:4], False), letters.decode(free[6:8], False))


def test_nan_ends_the_row_and_leaves_the_neighbours_alone(llama: Any) -> None:
    import torch

    model = make("llama")
    with torch.no_grad():
        model.get_input_embeddings().weight[199] = float("nan")
    asked = [p for p in prompts() if 199 not in p]
    expected = expected_of(model, asked)
    assert not any(199 in e for e in expected)

    rows = complete(generator_of(model, batch_tokens=40), [*asked[:4], [*asked[0], 199], *asked[4:]])

    assert rows[4].finish is FinishReason.ERROR
    assert [r.new for r in rows[:4] + rows[5:]] == expected
