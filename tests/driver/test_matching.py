"""What a model cannot do is said before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raybench.core.checkpoint import Checkpoint, Module
from raybench.core.engine_config import engine_config
from raybench.core.errors import ConfigError
from raybench.core.types import Kind, Sampling
from raybench.driver.matching import check_fit, check_head, check_masks, served_by

TEXT = (Kind.GENERATE, Kind.LOGLIKELIHOOD, Kind.ROLLING)


def folder(tmp_path: Path, architecture: str, **config: Any) -> Checkpoint:
    import json

    (tmp_path / "config.json").write_text(json.dumps({"model_type": "x", "architectures": [architecture], **config}))
    return Checkpoint(uri=str(tmp_path), path=str(tmp_path))


def module(*kinds: Kind, labels: tuple[str, ...] = ()) -> Checkpoint:
    return Checkpoint(uri="w.pt", path="w.pt", module=Module(factory="m:f", kinds=kinds, labels=labels))


def test_the_architecture_or_the_module_says_what_is_served(tmp_path: Path) -> None:
    assert served_by("pytorch", folder(tmp_path, "BertForTokenClassification")) == (Kind.TAG,)
    assert served_by("pytorch", folder(tmp_path, "LlamaForCausalLM")) == TEXT
    assert served_by("pytorch", folder(tmp_path, "ViTForImageClassification")) == ()
    assert served_by("pytorch", Checkpoint(uri="org/unknown")) == TEXT  # as ever: most are decoders
    assert served_by("pytorch", module(Kind.FILL)) == (Kind.FILL,)
    with pytest.raises(ConfigError, match=r"a plain module runs on engine pytorch"):
        served_by("vllm", module(Kind.GENERATE))


@pytest.mark.parametrize(
    ("kind", "engine", "checkpoint", "message"),
    [
        (Kind.CLASSIFY, {"overlong": "fewer_shots"}, {}, "has no examples"),
        (Kind.FILL, {"overlong": "truncate_right"}, {}, "is scored whole"),
        (Kind.TAG, {}, {"chat_template": "auto"}, "is plain text"),
        (Kind.GENERATE, {"overlong": "truncate_right"}, {}, "would cut the question off"),
    ],
)
def test_options_that_could_only_be_ignored_are_refused(
    kind: Kind, engine: dict[str, Any], checkpoint: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_fit(engine_config(engine), Checkpoint(uri="x", **checkpoint), kind, None, where="here")


@pytest.mark.parametrize(
    ("architecture", "sampling", "message"),
    [
        ("LlamaForCausalLM", {"num_beams": 4}, r"sampling\.num_beams is for encoder-decoders"),
        ("LlamaForCausalLM", {"no_repeat_ngram_size": 3}, r"sampling\.no_repeat_ngram_size is for encoder-decoders"),
        ("T5ForConditionalGeneration", {"length_penalty": 2.0}, r"length_penalty is for beam search, and num_beams is 1"),
        ("T5ForConditionalGeneration", {"num_beams": 2, "num_return_sequences": 3}, r"num_return_sequences 3 is more than num_beams 2"),
    ],
)
def test_beams_are_refused_where_there_are_none(tmp_path: Path, architecture: str, sampling: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_fit(engine_config({}), folder(tmp_path, architecture), Kind.GENERATE, Sampling(**sampling), where="here")


def test_metrics_of_masked_texts_need_their_way_of_masking() -> None:
    at_once, in_turn = engine_config({"mask_share": 0.15}), engine_config({})

    check_masks(at_once, Kind.FILL, ("mlm_loss",), where="here")
    check_masks(in_turn, Kind.FILL, ("acc",), where="here")
    check_masks(at_once, Kind.CLASSIFY, ("acc",), where="here")
    with pytest.raises(ConfigError, match=r"here: mlm_loss masks many tokens at once\. Set engine\.mask_share"):
        check_masks(in_turn, Kind.FILL, ("mlm_loss",), where="here")
    with pytest.raises(ConfigError, match=r"here: pseudo_perplexity masks one token at a time, engine\.mask_share is 0\.15"):
        check_masks(at_once, Kind.FILL, ("mlm_loss", "pseudo_perplexity"), where="here")


def test_what_fits_passes(tmp_path: Path) -> None:
    t5 = folder(tmp_path, "T5ForConditionalGeneration")
    check_fit(engine_config({}), t5, Kind.GENERATE, Sampling(num_beams=4, length_penalty=0.6, num_return_sequences=2), where="here")
    check_fit(engine_config({"overlong": "truncate_right"}), Checkpoint(uri="x"), Kind.CLASSIFY, None, where="here")


def test_labels_are_compared_where_the_files_are_here(tmp_path: Path) -> None:
    bert = folder(tmp_path, "BertForSequenceClassification", id2label={"0": "no", "1": "yes"})

    check_head("pytorch", bert, Kind.CLASSIFY, ("yes", "no"), where="here")
    check_head("pytorch", module(Kind.CLASSIFY), Kind.CLASSIFY, (), where="here")  # a regression
    check_head("pytorch", Checkpoint(uri="org/elsewhere"), Kind.CLASSIFY, ("a", "b"), where="here")  # the engine will see
    for checkpoint in (bert, module(Kind.CLASSIFY, labels=("no", "yes"))):
        with pytest.raises(ConfigError, match=r"here: the checkpoint's labels \(no, yes\) are not, one to one, the task's \(good, bad\)"):
            check_head("pytorch", checkpoint, Kind.CLASSIFY, ("good", "bad"), where="here")
