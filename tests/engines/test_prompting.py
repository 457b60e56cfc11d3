from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raybench.core.checkpoint import Checkpoint
from raybench.core.errors import CheckpointError
from raybench.core.types import ErrorCode, Kind, Request, Shot
from raybench.engines.fit import PromptError, fit
from raybench.engines.prompting import Prompter, join

SHOTS = (Shot(question="Q: 1+1?\nA:", answer="2"), Shot(question="Q: 2+2?\nA:", answer="4"))
ASK = Request(sample_id="s", kind=Kind.LOGLIKELIHOOD, description="Add.\n\n", shots=SHOTS, prompt="Q: 3+3?\nA:", continuations=("6", "7"))
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}{{ m.content }}{% endfor %}"
)
SILENT = "{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}{% endif %}{% endfor %}"


@pytest.fixture(scope="module")
def tokenizer(tiny_llama: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_llama)


@pytest.fixture(scope="module")
def harness(tiny_llama: Path) -> Any:
    """The tokenizing half of lm-evaluation-harness 0.4.13, around the same tokenizer."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(tiny_llama), device="cpu", dtype="float32", batch_size=1)


def prompter(tokenizer: Any, **settings: Any) -> Prompter:
    return Prompter(tokenizer, Checkpoint(uri="m", **settings))


def test_without_a_template_the_prompt_is_plain(tokenizer: Any) -> None:
    assert prompter(tokenizer).text(ASK) == "Add.\n\nQ: 1+1?\nA: 2\n\nQ: 2+2?\nA: 4\n\nQ: 3+3?\nA:"


@pytest.mark.parametrize("multiturn", [True, False])
def test_the_conversation_is_that_of_lm_eval(tokenizer: Any, harness: Any, multiturn: bool) -> None:
    from lm_eval.api.utils import Message, multiturn_to_singleturn  # 0.4.13: the turns that build_qa_turn makes

    turns = [Message("system", "Be brief.\n\nAdd.\n\n")]
    for shot in SHOTS:
        turns += [Message("user", shot.question, " "), Message("assistant", shot.answer, "\n\n")]
    turns.append(Message("user", ASK.prompt))
    expected = harness.apply_chat_template([m.to_dict() for m in turns] if multiturn else multiturn_to_singleturn(turns))

    chat = prompter(tokenizer, chat_template="auto", system_prompt="Be brief.", fewshot_as_multiturn=multiturn)

    assert chat.text(ASK) == expected


@pytest.mark.parametrize("prompt", ["Q: 3+3?\nA:", "Q: 3+3?\n"])  # white space takes the place of the delimiter
@pytest.mark.parametrize("prefix", ["It is", "It is ", " so"])
@pytest.mark.parametrize("template", [None, "auto", "single"])
def test_the_beginning_of_an_answer_is_put_as_lm_eval_puts_it(
    tokenizer: Any, harness: Any, prompt: str, prefix: str, template: str | None
) -> None:
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.api.utils import Message, messages_to_text, multiturn_to_singleturn

    request = replace(ASK, shots=tuple(replace(s, answer=join(prefix, s.answer, " ")) for s in SHOTS), prompt=prompt, prefix=prefix)
    turns = [Message("system", "Add.\n\n")]
    for shot in SHOTS:
        turns += ConfigurableTask.build_qa_turn(None, q=shot.question, a=shot.answer, gen_prefix=prefix)
    turns += ConfigurableTask.build_qa_turn(None, q=prompt, gen_prefix=prefix, few_delim="")
    if template is None:
        expected = messages_to_text(turns)
    else:
        said = [m.to_dict() for m in turns] if template == "auto" else multiturn_to_singleturn(turns)
        expected = harness.apply_chat_template(said, add_generation_prompt=False)

    asked = prompter(tokenizer, chat_template=template and "auto", fewshot_as_multiturn=template == "auto")

    assert asked.text(request) == expected


@pytest.mark.parametrize(("prefix", "expected"), [("", ""), ("It is", " "), ("It is ", "")])
def test_under_a_template_the_delimiter_stands_behind_the_beginning_of_an_answer(tokenizer: Any, prefix: str, expected: str) -> None:
    # lm_eval 0.4.13 api/task.py, construct_requests: the target delimiter, where the prefix does not end with white space
    assert prompter(tokenizer, chat_template="auto").delimiter(replace(ASK, prefix=prefix)) == expected


def test_template_arguments_reach_the_template_as_in_lm_eval(tokenizer: Any, harness: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    template = "{% for m in messages %}{{ m.content }}{% endfor %}{% if enable_thinking %}<think>{% endif %}{{ style }}"
    monkeypatch.setattr(harness.tokenizer, "chat_template", template)
    monkeypatch.setattr(harness, "chat_template_args", {"enable_thinking": True, "style": "!"})
    expected = harness.apply_chat_template([{"role": "user", "content": ASK.prompt}])

    chat = prompter(tokenizer, chat_template=template, chat_template_kwargs={"enable_thinking": True, "style": "!"})

    assert chat.text(replace(ASK, shots=(), description="")) == expected == ASK.prompt + "<think>!"


def test_further_turns_stand_behind_the_answers_before(tokenizer: Any) -> None:
    asked = Request(sample_id="s", kind=Kind.GENERATE, shots=SHOTS[:1], prompt="a?", turns=("b?", "c?"), prefix="So")
    plain, chat = prompter(tokenizer), prompter(tokenizer, chat_template="auto")

    assert plain.text(asked) == "Q: 1+1?\nA: 2\n\na? So"
    assert plain.text(asked, ["A1", "A2"]) == "Q: 1+1?\nA: 2\n\na? SoA1\n\nb? A2\n\nc?"
    assert [(m.role, m.content) for m in chat.messages(asked, ["A1", "A2"])] == [
        ("user", "Q: 1+1?\nA:"), ("assistant", "2"),
        ("user", "a?"), ("assistant", "SoA1"), ("user", "b?"), ("assistant", "A2"), ("user", "c?"),
    ]  # fmt: skip


def test_a_template_of_the_run_replaces_the_checkpoints(tokenizer: Any) -> None:
    chat = prompter(tokenizer, chat_template="{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}")

    assert chat.text(replace(ASK, shots=(), description="")) == "[user]Q: 3+3?\nA:"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (NO_SYSTEM, r"refused the messages \(system, user"),
        (SILENT, "leaves the system message out"),  # rendering works, and the instruction is gone
        ("{{ messages.nothing.at_all }}", "refused the messages"),
        ("{% if %}", "refused the messages"),  # no Jinja
    ],
)
def test_a_template_that_refuses_is_an_error_and_drops_nothing(tokenizer: Any, template: str, message: str) -> None:
    with pytest.raises(PromptError, match=message) as caught:
        prompter(tokenizer, chat_template=template).text(ASK)
    assert caught.value.code is ErrorCode.TEMPLATE


def test_auto_without_a_template_is_refused(tokenizer: Any) -> None:
    from copy import copy

    bare = copy(tokenizer)
    bare.chat_template = None

    with pytest.raises(CheckpointError, match="chat_template is 'auto', but its tokenizer carries none"):
        prompter(bare, chat_template="auto")


def test_under_a_template_the_delimiter_is_empty_and_nothing_is_added(tokenizer: Any) -> None:
    chat = prompter(tokenizer, chat_template="auto")

    context, tails = chat.pairs(replace(ASK, shots=(), description=""))

    # white space at the end of the template moves to the continuation, as lm_eval's _encode_pair does
    assert tokenizer.decode(context) == "<|im_start|>user\nQ: 3+3?\nA:<|im_end|>\n<|im_start|>assistant"
    assert [tokenizer.decode(t) for t in tails] == ["\n6", "\n7"]


def test_an_unconditional_request_has_neither_template_nor_context(tokenizer: Any) -> None:
    bare = Request(sample_id="s", request="uncond", is_bare=True, kind=Kind.LOGLIKELIHOOD, continuations=("6",))

    assert prompter(tokenizer).pairs(bare) == ([0], [tokenizer.encode(" 6")])
    assert prompter(tokenizer, chat_template="auto").pairs(bare) == ([0], [tokenizer.encode("6")])


@pytest.mark.parametrize(
    ("context", "continuation"),
    [
        ("A cat", " sat"),
        ("A cat ", "sat"),  # the space moves
        ("A cat \n\n", " sat"),
        ("<s>A cat", " sat"),  # BOS already there
        ("ümläut", " ö"),
    ],
)
def test_pairs_are_those_of_lm_eval(tokenizer: Any, harness: Any, context: str, continuation: str) -> None:
    expected = harness._encode_pair(context, continuation)

    request = Request(sample_id="s", kind=Kind.LOGLIKELIHOOD, prompt=context, delimiter="", continuations=(continuation,))

    assert prompter(tokenizer).pairs(request) == (expected[0], [expected[1]])


def test_bos_is_added_as_the_tokenizer_does_but_not_twice(tokenizer: Any) -> None:
    from copy import deepcopy

    from tokenizers.processors import TemplateProcessing

    adding = deepcopy(tokenizer)
    adding._tokenizer.post_processor = TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)])
    found = prompter(adding)

    assert found.encode("A", is_chat=False) == found.encode("<s>A", is_chat=False) == [0, *tokenizer.encode("A")]
    assert found.encode("A", is_chat=True) == tokenizer.encode("A")
    # a text to be scored: the prefix token stands before it once (lm-evaluation-harness issue 3333)
    assert found.rolling(Request(sample_id="s", kind=Kind.ROLLING, prompt="<s>A")) == tokenizer.encode("A")


def test_a_lone_surrogate_is_refused(tokenizer: Any) -> None:
    with pytest.raises(PromptError, match="lone surrogate at character 1") as caught:
        prompter(tokenizer).prompt(replace(ASK, kind=Kind.GENERATE, shots=(), description="", prompt="a\ud800"))
    assert caught.value.code is ErrorCode.REFUSED


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        (60, ("Add.\n\nQ: 1+1?\nA: 2\n\nQ: 2+2?\nA: 4\n\nQ: 3+3?\nA:", 0)),
        (35, ("Add.\n\nQ: 2+2?\nA: 4\n\nQ: 3+3?\nA:", 14)),
        (18, ("Add.\n\nQ: 3+3?\nA:", 28)),
    ],
)
def test_examples_are_dropped_from_the_front(room: int, expected: tuple[str, int]) -> None:
    fitted = fit(ASK, "fewer_shots", encode=lambda r: r.context, excess=lambda t: len(t) - room, length=len)

    assert (fitted.encoded, fitted.num_dropped) == expected


def test_what_does_not_fit_without_examples_is_an_error() -> None:
    with pytest.raises(PromptError, match=r"a prompt of 44 tokens is 34 too long\. It does not fit without examples either"):
        fit(ASK, "fewer_shots", encode=lambda r: r.context, excess=lambda t: len(t) - 10, length=len)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [("a", "b", "a\n\nb"), ("", "b", "b"), ("a", "", "a"), ("a ", "b", "a b"), ("a", "\nb", "a\nb")],
)
def test_texts_are_joined_as_lm_eval_joins_them(first: str, second: str, expected: str) -> None:
    from lm_eval.api.utils import maybe_delimit  # 0.4.13

    assert join(first, second, "\n\n") == expected == maybe_delimit(first, second, "\n\n")
