"""Which architectures the PyTorch engine runs, by which class of transformers, and what each can be asked. Pure: nothing is imported for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from raybench.core.types import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Architectures with the same head."""

    name: str
    """decoder, encoder or seq2seq: which engine class runs it."""
    pattern: str
    """Regular expression for class names of config.json."""
    auto: str
    """The class of transformers that loads it with its head."""
    kinds: tuple[Kind, ...]
    """What it can be asked, most general first."""
    may_lack: str = ""
    """Weights that may be missing because nothing reads them."""


_SEQ2SEQ = (
    "T5 MT5 UMT5 LongT5 T5Gemma SwitchTransformers Bart MBart LED Mvp PLBart Pegasus PegasusX BigBirdPegasus Blenderbot BlenderbotSmall "
    "M2M100 NllbMoe ProphetNet FSMT"
)
"""Text to text; others of the same suffix hear or see, or are decoders."""
_TWO_PART = "|".join((*_SEQ2SEQ.split(), "Marian"))

DECODER = Family(
    name="decoder",
    pattern=r"(?!XLNet)\w*(ForCausalLM|LMHeadModel|LMHead)",  # XLNet predicts in a permuted order: no left-to-right likelihood
    auto="AutoModelForCausalLM",
    kinds=(Kind.GENERATE, Kind.LOGLIKELIHOOD, Kind.ROLLING),
)
FAMILIES = (
    DECODER,
    Family(
        name="seq2seq",
        pattern=rf"({'|'.join(_SEQ2SEQ.split())})ForConditionalGeneration|MarianMTModel",
        auto="AutoModelForSeq2SeqLM",
        kinds=(Kind.GENERATE, Kind.LOGLIKELIHOOD),
    ),
    Family(
        name="encoder",
        pattern=r"\w+ForSequenceClassification",
        auto="AutoModelForSequenceClassification",
        kinds=(Kind.CLASSIFY,),
    ),
    Family(
        name="encoder",
        pattern=r"\w+ForNextSentencePrediction",
        auto="AutoModelForNextSentencePrediction",
        kinds=(Kind.CLASSIFY,),
    ),
    # one value for a pair of context and option; options are read one by one
    Family(name="encoder", pattern=r"\w+ForMultipleChoice", auto="AutoModelForMultipleChoice", kinds=(Kind.CLASSIFY,)),
    Family(name="encoder", pattern=r"\w+ForTokenClassification", auto="AutoModelForTokenClassification", kinds=(Kind.TAG,)),
    # ELECTRA's discriminator: was this token replaced?
    Family(name="encoder", pattern=r"ElectraForPreTraining", auto="AutoModelForPreTraining", kinds=(Kind.TAG,)),
    Family(name="encoder", pattern=r"\w+ForQuestionAnswering(Simple)?", auto="AutoModelForQuestionAnswering", kinds=(Kind.SPAN,)),
    Family(
        name="encoder",
        pattern=r"\w+ForMaskedLM|(Bert|Albert|Ernie|MegatronBert|MobileBert|BigBird|RoCBert)ForPreTraining",
        auto="AutoModelForMaskedLM",
        kinds=(Kind.FILL, Kind.EMBED),
    ),
    Family(
        name="encoder",
        pattern=rf"(?!({_TWO_PART}|EncoderDecoder)(Encoder)?Model)\w+(?<!LMHead)(?<!MT)Model",
        auto="AutoModel",
        kinds=(Kind.EMBED,),
        may_lack=r"(^|\.)pooler\.",
    ),
)
"""The first that fits counts."""


def family_of(architectures: Sequence[str]) -> Family | None:
    """The family of a checkpoint by the class names of its config.json; None where there is none for it."""
    return next((f for f in FAMILIES for a in architectures if re.fullmatch(f.pattern, a)), None)


def served_by_pytorch(architectures: Sequence[str]) -> tuple[Kind, ...]:
    """What the PyTorch engine can be asked with a checkpoint; of unknown names that of a decoder."""
    family = family_of(architectures) if architectures else DECODER
    return () if family is None else family.kinds


VLLM_KINDS = (Kind.GENERATE, Kind.LOGLIKELIHOOD, Kind.ROLLING, Kind.CLASSIFY, Kind.EMBED)
"""What vLLM's decoders and pooling models can be asked."""


def served_by_vllm(architectures: Sequence[str]) -> tuple[Kind, ...]:
    """What vLLM can be asked with a checkpoint: a decoder, or a head of its pooling models; of unknown names that of a decoder."""
    family = family_of(architectures) if architectures else DECODER
    return () if family is None or family.name == "seq2seq" else tuple(k for k in family.kinds if k in VLLM_KINDS)


ALL_KINDS = tuple(kind for kind in Kind if any(kind in family.kinds for family in FAMILIES))
"""What one or another of them can be asked."""
