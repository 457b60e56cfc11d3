"""Label names of heads and of tasks: orders differ between checkpoints (facebook/bart-large-mnli and roberta-large-mnli, their config.json)."""

from __future__ import annotations

import pytest

from raybench.core.errors import ConfigError
from raybench.core.types import Kind
from raybench.engines.labels import check_labels, head_labels, order_of, tag_names

MNLI = ("entailment", "neutral", "contradiction")


@pytest.mark.parametrize(
    ("head", "label_map", "expected"),
    [
        (("contradiction", "neutral", "entailment"), {}, [2, 1, 0]),  # facebook/bart-large-mnli
        (("CONTRADICTION", "NEUTRAL", "ENTAILMENT"), {}, [2, 1, 0]),  # roberta-large-mnli
        (MNLI, {}, [0, 1, 2]),
        (("LABEL_0", "LABEL_1", "LABEL_2"), {"LABEL_0": "contradiction", "LABEL_1": "entailment", "LABEL_2": "neutral"}, [1, 2, 0]),
        (("yes", "neutral", "contradiction"), {"yes": "entailment"}, [0, 1, 2]),
    ],
)
def test_logits_are_put_into_the_task_s_order(head: tuple[str, ...], label_map: dict[str, str], expected: list[int]) -> None:
    assert order_of(head, MNLI, label_map, where="here") == expected


def test_spellings_differ_in_case_hyphens_and_underscores_only() -> None:
    assert order_of(("Not-Entailment", "Entailment"), ("entailment", "not_entailment"), {}, where="here") == [1, 0]


@pytest.mark.parametrize(
    ("head", "labels", "label_map", "message"),
    [
        (("LABEL_0", "LABEL_1", "LABEL_2"), MNLI, {}, "are not, one to one"),
        (("entailment", "neutral"), MNLI, {}, "are not, one to one"),
        (("a", "b", "c"), MNLI, {"a": "neutral", "b": "neutral", "c": "entailment"}, "are not, one to one"),  # two for one
        (("value",), MNLI, {}, "are not, one to one"),
        (MNLI, (), {}, "is a regression and needs a head with one value; this one has 3 labels"),
        (MNLI, MNLI, {"gone": "neutral"}, "label_map names gone, which the checkpoint does not have"),
        (("yes", "no", "yes_"), ("YES", "no", "Yes"), {}, "are not, one to one"),  # two that could be meant
    ],
)
def test_labels_that_do_not_belong_together_are_refused(
    head: tuple[str, ...], labels: tuple[str, ...], label_map: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        order_of(head, labels, label_map, where="here")


def test_a_tagger_s_labels_may_be_more_than_the_task_s() -> None:
    head = ("O", "B-GIVEN_NAME", "B-SURNAME", "B-CITY")

    names = tag_names(head, ("O", "B-PER", "I-PER"), {"B-GIVEN_NAME": "B-PER", "B-SURNAME": "I-PER", "B-CITY": "O"}, where="here")

    assert names == ["O", "B-PER", "I-PER", "O"]
    assert tag_names(head, (), {}, where="here") == list(head)
    with pytest.raises(ConfigError, match=r"3 labels of the checkpoint \(B-GIVEN_NAME, B-SURNAME, B-CITY\) are none of the task's"):
        tag_names(head, ("O", "B-PER", "I-PER"), {}, where="here")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"id2label": {"1": "b", "0": "a", "10": "c"}}, ("a", "b", "c")),
        ({}, ("LABEL_0", "LABEL_1")),  # transformers writes neither where they are the default
        ({"num_labels": 1}, ("LABEL_0",)),
        ({"num_labels": 3, "id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, ("LABEL_0", "LABEL_1", "LABEL_2")),  # rxnfp's bert_ft_10k_25s
    ],
)
def test_a_head_s_names_are_read_in_the_order_of_its_logits(config: dict[str, object], expected: tuple[str, ...]) -> None:
    assert head_labels(config) == expected


def test_only_heads_with_labels_are_checked() -> None:
    check_labels(Kind.SPAN, ("LABEL_0", "LABEL_1"), (), {}, where="here")
    with pytest.raises(ConfigError):
        check_labels(Kind.CLASSIFY, ("LABEL_0", "LABEL_1"), ("a", "b"), {}, where="here")


def test_a_multiple_choice_head_has_one_value() -> None:
    # what BertForMultipleChoice.save_pretrained writes: no names, and two labels by default
    assert head_labels({"architectures": ["BertForMultipleChoice"]}) == ("value",)
