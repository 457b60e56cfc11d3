"""Encoders with heads against transformers' own forward passes, one row at a time, and against its pipelines."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raybench.core.checkpoint import Checkpoint
from raybench.core.errors import CheckpointError, ConfigError
from raybench.core.outputs import Classification, Embedding, Likelihoods, Spans, Tags
from raybench.core.protocols import Engine, EngineSpec
from raybench.core.types import ErrorCode, Kind, Prediction, Request
from raybench.engines.fill import drawn
from raybench.engines.registry import make_engine
from tests.tiny_models import LABELS, TAGS, label_names, make_checkpoint

ENCODERS = ("bert", "roberta", "albert", "xlnet", "electra", "ernie", "macbert")
DECODERS = ("gpt2", "llama")
TEXTS = ("good", "a much longer text than the others, with commas", "", "middling text", "b", "another one of the sort")
LONG = "a text of more than the 130 places that the models have, which is cut at its end, " * 3
Make = Callable[..., Path]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Checkpoint folders, each made once."""
    known: dict[str, Path] = {}

    def make(family: str, auto: str, **more: Any) -> Path:
        key = json.dumps([family, auto, more], default=str)
        if key not in known:
            known[key] = make_checkpoint(tmp_path_factory.mktemp(family), family, auto, **more)
        return known[key]

    return make


def engine_of(folder: Path, *, label_map: dict[str, str] | None = None, **options: Any) -> Engine:
    checkpoint = Checkpoint(uri=str(folder), path=str(folder), identity="tiny", label_map=label_map or {})
    return make_engine(EngineSpec(kind="pytorch", checkpoint=checkpoint, options={"threads": 1, **options}))


def loaded(folder: Path, auto: str) -> tuple[Any, Any]:
    """Model and tokenizer by transformers alone."""
    import transformers

    return getattr(transformers, auto).from_pretrained(folder).eval(), transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    import torch

    with torch.no_grad():
        yield


def classified(texts: tuple[str, ...], *, pairs: bool = False, labels: tuple[str, ...] = LABELS) -> list[Request]:
    return [
        Request(sample_id=str(i), kind=Kind.CLASSIFY, prompt=t, pair=t[::-1] * (i % 3) + "b" if pairs else None, labels=labels)
        for i, t in enumerate(texts)
    ]


def output(prediction: Prediction, kind: type) -> Any:
    assert prediction.error_message is None
    assert isinstance(prediction.output, kind)
    return prediction.output


@pytest.mark.parametrize("pairs", [False, True], ids=["sentence", "pair"])
@pytest.mark.parametrize("family", [*ENCODERS, *DECODERS, "bart"])
def test_label_logits_are_those_of_a_loop_over_single_rows(make: Make, family: str, pairs: bool) -> None:
    auto = "AutoModelForSequenceClassification"
    folder = make(family, auto, **label_names(LABELS))
    texts = tuple(t for t in TEXTS if t or family not in DECODERS)  # an empty text has no tokens there
    requests = classified(texts, pairs=pairs)
    model, tokenizer = loaded(folder, auto)

    answers = engine_of(folder).run(requests)

    for request, answer in zip(requests, answers, strict=True):
        # the call that transformers documents: tokenizer(text, pair), model(**inputs)
        expected = model(**tokenizer(request.prompt, request.pair, return_tensors="pt")).logits[0].tolist()
        found = output(answer, Classification)
        assert found.logits == pytest.approx(expected, abs=1e-5)
        assert found.label == LABELS[expected.index(max(expected))]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", [*ENCODERS, *DECODERS])
def test_the_tokenizer_s_padding_side_changes_no_logit(make: Make, family: str, side: str) -> None:
    auto = "AutoModelForSequenceClassification"
    folder = make(family, auto, tokenizer={"padding_side": side}, **label_names(LABELS))
    engine = engine_of(folder)
    requests = classified(tuple(t for t in TEXTS if t))

    together = engine.run(requests)

    for request, answer in zip(requests, together, strict=True):
        alone = output(engine.run([request])[0], Classification)
        assert output(answer, Classification).logits == pytest.approx(alone.logits, abs=1e-5)


def test_a_regression_gives_its_value(make: Make) -> None:
    folder = make("bert", "AutoModelForSequenceClassification", num_labels=1)
    model, tokenizer = loaded(folder, "AutoModelForSequenceClassification")

    answer = engine_of(folder).run(classified(("good text",), labels=()))[0]

    expected = model(**tokenizer("good text", return_tensors="pt")).logits.item()
    assert output(answer, Classification) == Classification(logits=(pytest.approx(expected, abs=1e-5),), label=None)


@pytest.mark.parametrize("family", ENCODERS)
def test_a_multiple_choice_head_scores_options_one_by_one_as_it_does_together(make: Make, family: str) -> None:
    import torch

    folder = make(family, "AutoModelForMultipleChoice")
    model, tokenizer = loaded(folder, "AutoModelForMultipleChoice")
    options = ("because it had rained", "because the tap was open all night", "no")
    requests = [
        Request(sample_id="s", request=f"option-{i}", kind=Kind.CLASSIFY, prompt="The street was wet", pair=option)
        for i, option in enumerate(options)
    ]

    answers = engine_of(folder).run(requests)

    # the call that transformers documents: [1, options, L]
    encoded = tokenizer(["The street was wet"] * 3, list(options), return_tensors="pt", padding=True)
    expected = model(**{name: torch.unsqueeze(value, 0) for name, value in encoded.items()}).logits[0].tolist()
    assert [output(answer, Classification).logits[0] for answer in answers] == pytest.approx(expected, abs=1e-5)


def test_logits_come_in_the_order_of_the_task_s_labels(make: Make) -> None:
    folder = make("bert", "AutoModelForSequenceClassification", **label_names(LABELS))
    engine = engine_of(folder)

    own = output(engine.run(classified(("good",)))[0], Classification)
    other = output(engine.run(classified(("good",), labels=("Positive", "NEGATIVE", "neutral")))[0], Classification)

    assert other.logits == (own.logits[2], own.logits[0], own.logits[1])
    assert other.label is not None
    assert other.label.casefold() == own.label


def test_labels_without_a_name_need_a_map(make: Make) -> None:
    folder = make("bert", "AutoModelForSequenceClassification", num_labels=2)
    requests = classified(("good",), labels=("yes", "no"))

    with pytest.raises(
        ConfigError, match=r"labels \(LABEL_0, LABEL_1\) are not, one to one, the task's \(yes, no\).*label_map: \{LABEL_0: "
    ):
        engine_of(folder).run(requests)
    mapped = engine_of(folder, label_map={"LABEL_0": "no", "LABEL_1": "yes"}).run(requests)[0]

    model, tokenizer = loaded(folder, "AutoModelForSequenceClassification")
    no, yes = model(**tokenizer("good", return_tensors="pt")).logits[0].tolist()
    assert output(mapped, Classification).logits == pytest.approx((yes, no), abs=1e-5)


def test_next_sentence_logits_are_the_head_s(make: Make) -> None:
    auto = "AutoModelForNextSentencePrediction"
    folder = make("bert", auto)
    model, tokenizer = loaded(folder, auto)
    request = Request(sample_id="0", kind=Kind.CLASSIFY, prompt="one", pair="two", labels=("next", "random"))

    answer = engine_of(folder, label_map={"LABEL_0": "next", "LABEL_1": "random"}).run([request])[0]

    expected = model(**tokenizer("one", "two", return_tensors="pt")).logits[0].tolist()
    assert output(answer, Classification).logits == pytest.approx(expected, abs=1e-5)


def tagged(*sentences: str, labels: tuple[str, ...] = TAGS) -> list[Request]:
    return [Request(sample_id=str(i), kind=Kind.TAG, words=tuple(s.split()), labels=labels) for i, s in enumerate(sentences)]


SENTENCES = ("Ada met Grace in London", "a b c", "one", "words of quite different lengths , and a comma")


@pytest.mark.parametrize("family", [*ENCODERS, *DECODERS])
def test_the_first_sub_word_speaks_for_its_word(make: Make, family: str) -> None:
    auto = "AutoModelForTokenClassification"
    folder = make(family, auto, **label_names(TAGS))
    model, tokenizer = loaded(folder, auto)
    requests = tagged(*SENTENCES)

    answers = engine_of(folder).run(requests)

    for request, answer in zip(requests, answers, strict=True):
        # as run_ner.py of transformers aligns labels: a token counts when its word differs from that of the token before
        encoded = tokenizer(list(request.words or ()), is_split_into_words=True, return_tensors="pt")
        best, ids = model(**encoded).logits[0].argmax(-1).tolist(), encoded.word_ids()
        expected = [TAGS[best[k]] for k, w in enumerate(ids) if w is not None and w != (ids[k - 1] if k else None)]
        assert output(answer, Tags).labels == tuple(expected)


def test_replaced_tokens_are_found_by_the_discriminator(make: Make) -> None:
    folder = make("electra", "AutoModelForPreTraining")
    model, tokenizer = loaded(folder, "AutoModelForPreTraining")
    requests = tagged("a b c d e f g", labels=("original", "replaced"))

    answer = engine_of(folder, label_map={"LABEL_0": "original", "LABEL_1": "replaced"}).run(requests)[0]

    logits = model(**tokenizer(list("abcdefg"), is_split_into_words=True, return_tensors="pt")).logits[0].tolist()
    assert output(answer, Tags).labels == tuple("replaced" if x > 0 else "original" for x in logits[1:-1])


def spans(*pairs: tuple[str, str]) -> list[Request]:
    return [Request(sample_id=str(i), kind=Kind.SPAN, prompt=q, pair=p) for i, (q, p) in enumerate(pairs)]


PASSAGES = (
    ("who?", "Ada wrote the first program for an engine that was never built, in London. " * 4),
    ("where is it?", "here"),
    ("when did it end?", "in 1815 , or later, when all was said and done"),
)


@pytest.mark.parametrize("family", [*ENCODERS, *DECODERS, "bart"])
def test_spans_are_those_of_the_reference_post_processing(make: Make, family: str) -> None:
    auto = "AutoModelForQuestionAnswering"
    folder = make(family, auto)
    model, tokenizer = loaded(folder, auto)
    requests = spans(*PASSAGES)

    answers = engine_of(folder, max_length=100, doc_stride=16, max_answer_tokens=12, n_best=5).run(requests)

    for request, answer in zip(requests, answers, strict=True):
        found = output(answer, Spans)
        expected, null = reference_spans(model, tokenizer, request, 100, 16, 12, 5)
        assert found.null_score == pytest.approx(null, abs=1e-5)
        assert found.scores == pytest.approx([s for s, _, _ in expected], abs=1e-5)
        assert list(zip(found.starts, found.stops, strict=True)) == [(a, b) for _, a, b in expected]
        assert found.texts == tuple((request.pair or "")[a:b] for _, a, b in expected)


def reference_spans(
    model: Any, tokenizer: Any, request: Request, length: int, stride: int, longest: int, n_best: int
) -> tuple[list[tuple[float, int, int]], float]:
    """transformers examples/pytorch/question-answering (run_qa.py, utils_qa.py postprocess_qa_predictions), written again, window by window."""
    import torch

    on_right = tokenizer.padding_side == "right"
    first, second = (request.prompt, request.pair) if on_right else (request.pair, request.prompt)
    encoded = tokenizer(
        first, second, truncation="only_second" if on_right else "only_first", max_length=length, stride=stride,
        return_overflowing_tokens=True, return_offsets_mapping=True,
    )  # fmt: skip
    found: list[tuple[float, int, int]] = []
    nulls = []
    for i, ids in enumerate(encoded["input_ids"]):
        inputs = {k: torch.tensor([encoded[k][i]]) for k in tokenizer.model_input_names}
        result = model(**inputs)
        starts, stops = result.start_logits[0].tolist(), result.end_logits[0].tolist()
        cls = ids.index(tokenizer.cls_token_id) if tokenizer.cls_token_id in ids else 0
        nulls.append(starts[cls] + stops[cls])
        own = encoded.sequence_ids(i)
        offsets = [o if own[k] == (1 if on_right else 0) else None for k, o in enumerate(encoded["offset_mapping"][i])]
        for a in sorted(range(len(ids)), key=lambda k: -starts[k])[:n_best]:
            for b in sorted(range(len(ids)), key=lambda k: -stops[k])[:n_best]:
                if offsets[a] is None or offsets[b] is None or b < a or b - a + 1 > longest:
                    continue
                found.append((starts[a] + stops[b], offsets[a][0], offsets[b][1]))
    return sorted(found, key=lambda c: -c[0])[:n_best], min(nulls)


FILLS = (
    ("It was [MASK].", ("good", "bad", "x", "so so")),
    ("[MASK] it is", ("This", "a")),
    ("end with [MASK]", ("y", "zz")),
)


@pytest.mark.parametrize("family", ["bert", "roberta", "albert", "electra", "ernie", "macbert"])
def test_candidates_get_the_log_probability_of_each_token_masked_in_turn(make: Make, family: str) -> None:
    import torch

    folder = make(family, "AutoModelForMaskedLM")
    model, tokenizer = loaded(folder, "AutoModelForMaskedLM")
    requests = [Request(sample_id=p, kind=Kind.FILL, prompt=p, continuations=c) for p, c in FILLS]

    answers = engine_of(folder).run(requests)

    for request, answer in zip(requests, answers, strict=True):
        for n, candidate in enumerate(request.continuations):
            ids = tokenizer(request.prompt.replace("[MASK]", candidate))["input_ids"]
            start = tokenizer(request.prompt)["input_ids"].index(tokenizer.mask_token_id)
            total = 0.0
            for k in range(start, start + len(candidate)):  # a token a byte
                masked = torch.tensor([[*ids[:k], tokenizer.mask_token_id, *ids[k + 1 :]]])
                total += model(input_ids=masked).logits[0, k].log_softmax(-1)[ids[k]].item()
            assert output(answer, Likelihoods).logprobs[n] == pytest.approx(total, abs=1e-4)
            assert output(answer, Likelihoods).num_tokens[n] == len(candidate)


def test_a_whole_text_gets_its_pseudo_log_likelihood(make: Make) -> None:
    import torch

    folder = make("bert", "AutoModelForMaskedLM")
    model, tokenizer = loaded(folder, "AutoModelForMaskedLM")
    text = "a text to score"

    answer = engine_of(folder).run([Request(sample_id="0", kind=Kind.FILL, prompt=text, keep_tokens=True)])[0]

    ids = torch.tensor(tokenizer(text)["input_ids"])
    rows = ids.repeat(len(ids) - 2, 1)  # Salazar et al. 2020, equation 1: every token but [CLS] and [SEP]
    places = torch.arange(1, len(ids) - 1)
    rows[places - 1, places] = tokenizer.mask_token_id
    expected = model(input_ids=rows).logits[places - 1, places].log_softmax(-1)[places - 1, ids[1:-1]]
    found = output(answer, Likelihoods)
    assert found.logprobs == pytest.approx([expected.sum().item()], abs=1e-4)
    assert found.token_logprobs == (pytest.approx(expected.tolist(), abs=1e-5),)
    assert found.num_tokens == (len(text),)


@pytest.mark.parametrize("family", ["bert", "roberta", "electra"])
def test_tokens_masked_at_once_give_the_loss_of_transformers(make: Make, family: str) -> None:
    import torch

    folder = make(family, "AutoModelForMaskedLM")
    model, tokenizer = loaded(folder, "AutoModelForMaskedLM")
    texts = {"a": "a text to score, of more than a few tokens", "b": "short", "c": "a text to score, of more than a few tokens"}
    requests = [Request(sample_id=i, kind=Kind.FILL, prompt=t) for i, t in texts.items()]

    answers = [output(p, Likelihoods) for p in engine_of(folder, mask_share=0.15).run(requests)]

    for (sample_id, text), answer in zip(texts.items(), answers, strict=True):
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        places = drawn(sample_id, range(1, ids.shape[1] - 1), 0.15)
        labels = torch.full_like(ids, -100)
        labels[0, places] = ids[0, places]
        loss = model(input_ids=ids.masked_fill(labels != -100, tokenizer.mask_token_id), labels=labels).loss.item()
        assert answer.num_tokens == (len(places),) == (max(1, round(0.15 * len(text))),)  # a token a byte
        assert -answer.logprobs[0] / answer.num_tokens[0] == pytest.approx(loss, abs=1e-5)
    assert answers[0].logprobs != answers[2].logprobs  # another sample of the same text: other masks


def test_masks_depend_on_the_sample_alone() -> None:
    first = drawn("sample-1", range(1, 101), 0.15)

    # the seeds are SHA-256, written down once: a change of them would change every loss
    assert first == [9, 11, 20, 24, 33, 34, 35, 39, 53, 59, 75, 78, 80, 85, 95]
    assert len(first) == 15
    assert drawn("sample-1", [7], 0.15) == [7]
    assert drawn("sample-1", range(5), 1.0) == [0, 1, 2, 3, 4]
    counts = [sum(k in drawn(f"s{i}", range(20), 0.25) for i in range(400)) for k in range(20)]
    assert 60 < min(counts) <= max(counts) < 145  # 100 expected, sd 8.7


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize(("family", "auto"), [*((f, "AutoModel") for f in (*ENCODERS, *DECODERS)), ("bert", "AutoModelForMaskedLM")])
def test_vectors_are_pooled_hidden_states_of_length_one(make: Make, family: str, auto: str, pooling: str) -> None:
    folder = make(family, auto)
    model, tokenizer = loaded(folder, "AutoModel")
    texts = [t for t in TEXTS if t]

    answers = engine_of(folder, pooling=pooling).run([Request(sample_id=t, kind=Kind.EMBED, prompt=t) for t in texts])

    for text, answer in zip(texts, answers, strict=True):
        states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        expected = {"mean": states.mean(0), "cls": states[0], "last": states[-1]}[pooling]
        assert output(answer, Embedding).vector == pytest.approx((expected / expected.norm()).tolist(), abs=1e-5)


def test_vectors_keep_their_length_when_told_so(make: Make) -> None:
    folder = make("bert", "AutoModel")
    model, tokenizer = loaded(folder, "AutoModel")

    answer = engine_of(folder, normalize=False).run([Request(sample_id="0", kind=Kind.EMBED, prompt="text")])[0]

    expected = model(**tokenizer("text", return_tensors="pt")).last_hidden_state[0].mean(0).tolist()
    assert output(answer, Embedding).vector == pytest.approx(expected, abs=1e-5)


# question answering has none any more (transformers 5): see the reference post-processing above
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_the_pipelines_of_transformers_say_the_same(make: Make, family: str) -> None:
    from transformers import pipeline

    folder = make(family, "AutoModelForSequenceClassification", **label_names(LABELS))
    classify = pipeline("text-classification", model=str(folder), device="cpu")
    requests = [*classified(TEXTS), *classified((*TEXTS, LONG), pairs=True)]
    for request, answer in zip(requests, engine_of(folder, overlong="truncate_right", max_length=128).run(requests), strict=True):
        inputs = {"text": request.prompt} | ({} if request.pair is None else {"text_pair": request.pair})
        rows = classify(inputs, top_k=None, function_to_apply="none", truncation="longest_first", max_length=128)
        assert output(answer, Classification).logits == pytest.approx(
            [r["score"] for n in LABELS for r in rows if r["label"] == n], abs=1e-5
        )

    folder = make(family, "AutoModelForTokenClassification", **label_names(TAGS))
    tag = pipeline("token-classification", model=str(folder), device="cpu", aggregation_strategy="none", ignore_labels=[])
    for request, answer in zip(tagged(*SENTENCES), engine_of(folder).run(tagged(*SENTENCES)), strict=True):
        (rows,) = tag([list(request.words or ())], is_split_into_words=True, delimiter=" ")
        by_start, start, labels = {r["start"]: r["entity"] for r in rows}, 0, []
        for word in request.words or ():
            labels.append(by_start[start])
            start += len(word) + 1
        assert output(answer, Tags).labels == tuple(labels)

    folder = make(family, "AutoModelForMaskedLM")
    fill = pipeline("fill-mask", model=str(folder), device="cpu")
    request = Request(sample_id="0", kind=Kind.FILL, prompt="It was [MASK]", continuations=("a", "b"))
    rows = fill(request.prompt, targets=["a", "b"])
    found = output(engine_of(folder).run([request])[0], Likelihoods)
    for row in rows:
        assert found.logprobs["ab".index(row["token_str"])] == pytest.approx(math.log(row["score"]), abs=1e-4)

    folder = make(family, "AutoModel")
    states = pipeline("feature-extraction", model=str(folder), device="cpu")
    texts = [text for text in TEXTS if text]
    answers = engine_of(folder, pooling="cls", normalize=False).run([Request(sample_id=t, kind=Kind.EMBED, prompt=t) for t in texts])
    for text, answer in zip(texts, answers, strict=True):
        assert output(answer, Embedding).vector == pytest.approx(states(text)[0][0], abs=1e-5)


def test_batches_take_what_they_are_given(make: Make) -> None:
    folder = make("bert", "AutoModelForSequenceClassification", **label_names(LABELS))
    requests = classified(tuple("x" * (7 * i % 60) for i in range(40)))

    large = engine_of(folder).run(requests)
    small = engine_of(folder, batch_tokens=64).run(requests)

    for a, b in zip(large, small, strict=True):
        assert output(a, Classification).logits == pytest.approx(output(b, Classification).logits, abs=1e-5)


def test_a_head_that_is_not_in_the_weights_is_refused(make: Make, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "headless", "bert", "AutoModel")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertForSequenceClassification"]}))

    with pytest.raises(CheckpointError, match=r"weights are missing and would be made up: classifier\.bias, classifier\.weight"):
        engine_of(folder)


def test_an_embedding_needs_no_pooler(make: Make, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "plain", "bert", "AutoModelForMaskedLM")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}))

    assert engine_of(folder).kinds == {Kind.EMBED}


@pytest.mark.parametrize(
    ("overlong", "kept"),
    [("error", None), ("truncate_left", "last"), ("truncate_right", "first")],
)
def test_a_long_text_is_an_error_or_cut_as_told(make: Make, overlong: str, kept: str | None) -> None:
    folder = make("bert", "AutoModelForSequenceClassification", **label_names(LABELS))
    engine = engine_of(folder, max_length=20, overlong=overlong)
    text = "first words, then a lot in between, the last"

    answer = engine.run(classified((text,)))[0]

    if kept is None:
        assert (answer.error_code, answer.output) == (ErrorCode.OVERLONG, None)
        return
    whole = engine.run(classified(({"first": text[:18], "last": text[-18:]}[kept],)))[0]
    assert answer.num_truncated_tokens == len(text) - 18
    assert output(answer, Classification).logits == pytest.approx(output(whole, Classification).logits, abs=1e-6)


def test_requests_at_fault_are_error_rows_and_leave_the_others_alone(make: Make) -> None:
    tagger = engine_of(make("bert", "AutoModelForTokenClassification", **label_names(TAGS)))
    filler = engine_of(make("bert", "AutoModelForMaskedLM"))
    finder = engine_of(make("bert", "AutoModelForQuestionAnswering"), max_length=40, doc_stride=8)
    good = tagged("a b")[0]

    codes = [p.error_code for p in tagger.run([Request(sample_id="e", kind=Kind.TAG, words=(), labels=TAGS), good])]
    codes += [p.error_code for p in tagger.run([Request(sample_id="e", kind=Kind.TAG, words=("\ud800",), labels=TAGS), good])]
    codes += [p.error_code for p in tagger.run([Request(sample_id="e", kind=Kind.CLASSIFY, prompt="a"), good])]
    codes += [
        p.error_code
        for p in filler.run(
            [
                Request(sample_id="0", kind=Kind.FILL, prompt="no place", continuations=("a",)),
                Request(sample_id="1", kind=Kind.FILL, prompt="[MASK]", continuations=("",)),
                Request(sample_id="2", kind=Kind.FILL, prompt=""),
                Request(sample_id="3", kind=Kind.FILL, prompt="[MASK]", continuations=("a",)),
            ]
        )
    ]
    codes += [p.error_code for p in finder.run(spans(("a question that is much too long?", "here"), ("who?", " "), ("who?", "me")))]

    assert codes == [
        ErrorCode.EMPTY, None, ErrorCode.REFUSED, None, ErrorCode.REFUSED, None,
        ErrorCode.REFUSED, ErrorCode.EMPTY, ErrorCode.EMPTY, None,
        ErrorCode.OVERLONG, ErrorCode.EMPTY, None,
    ]  # fmt: skip


def test_damaged_weights_are_error_rows(make: Make, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = make_checkpoint(tmp_path / "nan", "bert", "AutoModelForSequenceClassification", **label_names(LABELS))
    state = load_file(folder / "model.safetensors")
    state["classifier.bias"] = torch.full_like(state["classifier.bias"], float("nan"))
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})

    assert engine_of(folder).run(classified(("a",)))[0].error_code is ErrorCode.NONFINITE


def test_other_weights_are_swapped_in(make: Make, tmp_path: Path) -> None:
    auto = "AutoModelForSequenceClassification"
    one, two = (make_checkpoint(tmp_path / str(s), "bert", auto, seed=s, **label_names(LABELS)) for s in (1, 2))
    engine = engine_of(one)

    is_swapped = engine.load(Checkpoint(uri=str(two), path=str(two), identity="two"))

    assert is_swapped
    assert engine.run(classified(TEXTS)) == engine_of(two).run(classified(TEXTS))
    assert not engine.load(Checkpoint(uri="x", path=str(make("bert", auto, num_labels=1)), identity="x"))


def test_more_positions_than_there_are_is_a_configuration_error(make: Make) -> None:
    with pytest.raises(ConfigError, match=r"engine\.max_length: 130 is more than the 129 positions of the checkpoint"):
        engine_of(make("roberta", "AutoModelForMaskedLM"), max_length=130)
