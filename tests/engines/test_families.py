"""Which class of transformers loads an architecture, compared with transformers' own tables."""

from __future__ import annotations

import pytest

from raybench.core.types import Kind
from raybench.engines.families import ALL_KINDS, DECODER, family_of


@pytest.mark.parametrize(
    ("table", "name", "families"),
    [
        ("MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES", "AutoModelForSequenceClassification", "bert roberta albert xlnet electra ernie gpt2 llama bart"),
        ("MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES", "AutoModelForTokenClassification", "bert roberta albert xlnet electra ernie gpt2 llama"),
        ("MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES", "AutoModelForQuestionAnswering", "bert roberta albert xlnet electra ernie gpt2 llama bart"),
        ("MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES", "AutoModelForMultipleChoice", "bert roberta albert xlnet electra ernie"),
        ("MODEL_FOR_MASKED_LM_MAPPING_NAMES", "AutoModelForMaskedLM", "bert roberta albert electra ernie distilbert deberta-v2 modernbert"),
        ("MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES", "AutoModelForSeq2SeqLM", "t5 mt5 bart mbart marian pegasus m2m_100 led"),
        ("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", "AutoModelForCausalLM", "gpt2 llama qwen3 gpt_neox opt mamba bloom"),
        ("MODEL_MAPPING_NAMES", "AutoModel", "bert roberta albert xlnet electra ernie gpt2 llama modernbert"),
    ],
)  # fmt: skip
def test_an_architecture_is_loaded_by_the_class_that_transformers_has_for_it(table: str, name: str, families: str) -> None:
    from transformers.models.auto import modeling_auto

    architectures = getattr(modeling_auto, table)

    for model_type in families.split():
        family = family_of([architectures[model_type]])
        assert family is not None, model_type
        assert family.auto == name, model_type


def test_every_class_that_a_family_names_exists() -> None:
    import transformers

    from raybench.engines.families import FAMILIES

    assert [f.auto for f in FAMILIES if not hasattr(transformers, f.auto)] == []


@pytest.mark.parametrize(
    ("architecture", "kinds"),
    [
        ("BertForPreTraining", (Kind.FILL, Kind.EMBED)),
        ("ElectraForPreTraining", (Kind.TAG,)),  # a discriminator, not a masked language model
        ("BertForNextSentencePrediction", (Kind.CLASSIFY,)),
        ("XLNetForQuestionAnsweringSimple", (Kind.SPAN,)),
        ("MarianMTModel", (Kind.GENERATE, Kind.LOGLIKELIHOOD)),
    ],
)
def test_what_an_architecture_serves_follows_from_its_head(architecture: str, kinds: tuple[Kind, ...]) -> None:
    family = family_of([architecture])

    assert family is not None
    assert family.kinds == kinds


@pytest.mark.parametrize(
    "architecture",
    [
        "XLNetLMHeadModel",
        "T5Model",
        "BartModel",
        "MarianModel",
        "T5EncoderModel",
        "WhisperForConditionalGeneration",
        "ViTForImageClassification",
    ],
)
def test_what_none_of_them_runs_is_left_alone(architecture: str) -> None:
    assert family_of([architecture]) is None


def test_every_request_kind_is_served_by_some_family() -> None:
    assert set(ALL_KINDS) == set(Kind)
    assert DECODER.kinds == (Kind.GENERATE, Kind.LOGLIKELIHOOD, Kind.ROLLING)
