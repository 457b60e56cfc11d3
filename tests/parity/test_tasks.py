"""Every built-in task gives what lm-evaluation-harness 0.4.13 gives: prompts, log-probabilities, greedy flags, texts, metrics.

The harness itself runs here, on rows of the project's own in the shape of the hub's (`rows/`), with small seeded models in float32. Differences on
purpose are in test_differences.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from raybench.core.outputs import Generation, Likelihoods, TextLikelihood
from raybench.driver.inspect_rows import Inspected, inspect_samples
from tests.parity.programs import ROWS, Case, Harness, Mode

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("parity")]

MODES = {
    "zero": Mode(model="llama"),
    "few-bos": Mode(model="llama-bos", shots=3),
    "few-gpt2": Mode(model="gpt2", shots=2),
    "chat": Mode(model="llama", chat=True, system="Be brief."),
    "chat-few": Mode(model="llama", shots=2, chat=True),
    "chat-joined": Mode(model="llama-bos", shots=2, chat=True, multiturn=False),
}


def case(task: str, file: str, source: str, rows: str | None = None, **more: Any) -> Case:
    return Case(task=task, file=file, source=source, rows=ROWS / f"{rows or task}.jsonl", **more)


CASES = {
    c.task: c
    for c in (
        case("arc_easy", "arc/arc_easy.yaml", "allenai/ai2_arc:ARC-Easy"),
        case("arc_challenge", "arc/arc_challenge.yaml", "allenai/ai2_arc:ARC-Challenge", "arc_easy"),
        case("hellaswag", "hellaswag/hellaswag.yaml", "Rowan/hellaswag"),
        case("winogrande", "winogrande/default.yaml", "allenai/winogrande"),
        case("piqa", "piqa/piqa.yaml", "baber/piqa"),
        case("openbookqa", "openbookqa/openbookqa.yaml", "allenai/openbookqa"),
        case("commonsense_qa", "commonsense_qa/default.yaml", "tau/commonsense_qa"),
        case("boolq", "super_glue/boolq/default.yaml", "aps/super_glue:boolq"),
        *(
            case(f"glue/{name}", f"glue/{name}/default.yaml", f"nyu-mll/glue:{name}", f"labelled/{name}")
            for name in ("cola", "sst2", "mrpc", "qqp", "qnli", "rte", "wnli")
        ),
        case("glue/mnli_matched", "glue/mnli/default.yaml", "nyu-mll/glue:mnli", "labelled/mnli"),
        case("glue/mnli_mismatched", "glue/mnli/mismatch.yaml", "nyu-mll/glue:mnli", "labelled/mnli"),
        *(
            case(f"super_glue/{name}", f"super_glue/{name}/default.yaml", f"aps/super_glue:{name}", f"labelled/{name}")
            for name in ("cb", "copa", "record", "wic")
        ),
        case("super_glue/rte", "super_glue/rte/default.yaml", "aps/super_glue:rte", "labelled/sglue_rte"),
        case("super_glue/wsc", "super_glue/wsc/default.yaml", "aps/super_glue:wsc.fixed", "labelled/wsc"),
        case("mmlu/anatomy", "mmlu/default/mmlu_anatomy.yaml", "cais/mmlu", "mmlu"),
        case("truthfulqa_mc1", "truthfulqa/truthfulqa_mc1.yaml", "truthfulqa/truthful_qa", "truthfulqa", shots=False),
        case("truthfulqa_mc2", "truthfulqa/truthfulqa_mc2.yaml", "truthfulqa/truthful_qa", "truthfulqa", shots=False),
        case("lambada_openai", "lambada/lambada_openai.yaml", "EleutherAI/lambada_openai"),
        case("lambada_standard", "lambada/lambada_standard.yaml", "cimec/lambada"),
        case("wikitext", "wikitext/wikitext.yaml", "EleutherAI/wikitext_document_level", shots=False),
        case(
            "gsm8k",
            "gsm8k/gsm8k.yaml",
            "openai/gsm8k",
            # 256 tokens of a random model tell no more than 40; the last two stops come among them
            overrides={
                "generation_kwargs": {"until": ["Question:", "</s>", "<|im_end|>", "no", "How"], "do_sample": False, "max_gen_toks": 40}
            },
            ours={"sampling": {"max_tokens": 40, "stop": ["Question:", "</s>", "<|im_end|>", "no", "How"]}},
        ),
    )
}
LIMIT = 5
"""Rows of each task."""
NAMES = {"greedy_acc": "acc", "mc2": "acc", "exact_match_gsm8k[strict]": "exact_match,strict-match"}
NAMES |= {"exact_match_gsm8k[flexible]": "exact_match,flexible-extract"}
NAMES |= {"matthews": "mcc", "f1_macro": "f1", "record_f1": "f1", "record_em": "em"}
"""What the harness calls our metrics."""


@pytest.fixture(scope="module")
def both(harness: Harness, ours: Callable[..., Any], checkpoints: Any) -> Callable[[str], tuple[dict[str, Any], Any]]:
    """All tasks in one mode by both programs, each run once."""
    done: dict[str, tuple[dict[str, Any], Any]] = {}

    def run(name: str) -> tuple[dict[str, Any], Any]:
        if name not in done:
            mode, cases = MODES[name], [c for c in CASES.values() if is_compared(name, c.task)]
            path = checkpoints[mode.model]
            done[name] = harness.run(path, cases, mode, limit=LIMIT), ours(str(path), cases, mode, limit=LIMIT)
        return done[name]

    return run


def is_compared(mode: str, task: str) -> bool:
    """All but what differs on purpose (test_differences.py), and texts to be scored where only the examples are new."""
    asked = MODES[mode]
    if "glue/" in task:  # what they add are prompts and metrics, not ways of asking
        return mode in ("zero", "few-bos")
    if task == "wikitext":
        return asked.model != "llama-bos" and not asked.shots
    return not (task.startswith("lambada") and asked.chat and asked.shots and asked.multiturn)


@pytest.mark.parametrize(("mode", "task"), [(m, t) for m in MODES for t in CASES if is_compared(m, t)])
def test_every_answer_and_every_metric_is_the_harness_s(mode: str, task: str, both: Any) -> None:
    theirs, report = both(mode)
    logged = theirs["samples"][task]
    found = list(inspect_samples(report.path, task=task))

    assert len(found) == len({s["doc_id"] for s in logged}) > 1
    for index, sample in enumerate(found):
        compare(sample, [s for s in logged if s["doc_id"] == index], is_chat=MODES[mode].chat)
    compare_metrics([r for r in report.results.results if r.task == task], theirs["results"][task])


def compare(found: Inspected, logged: list[dict[str, Any]], *, is_chat: bool) -> None:
    """One sample with what the harness logged of it, an entry for each of its filters."""
    arguments = [tuple(a) for a in logged[0]["arguments"]]
    responses = [r[0] for r in logged[0]["resps"]]
    outputs = [p.output for p in found.predictions]
    if not is_chat and isinstance(outputs[0], Likelihoods):
        asked = [(r.context, r.delimiter + c) for r in found.requests for c in r.continuations]
        assert asked == arguments
    if isinstance(outputs[0], Generation):
        if not is_chat:
            assert found.requests[0].context == arguments[0][0]
        assert [o.text for o in outputs if isinstance(o, Generation)] == responses
        assert {(e["filter"], e["filtered_resps"][0]) for e in logged} == {
            (NAMES[s["metric"]].partition(",")[2], s["extracted"][0] or "[invalid]") for s in found.scores
        }
        return
    if isinstance(outputs[0], TextLikelihood):
        assert found.requests[0].prompt == arguments[0][0]
        assert [o.logprob for o in outputs if isinstance(o, TextLikelihood)] == pytest.approx(responses, abs=1e-3)
        return
    assert [lp for o in outputs for lp in o.logprobs] == pytest.approx([r[0] for r in responses], abs=1e-3)  # type: ignore[union-attr]
    assert [g for o in outputs for g in o.is_greedy] == [r[1] for r in responses]  # type: ignore[union-attr]


def compare_metrics(results: list[Any], expected: dict[str, Any]) -> None:
    values = {k: v for k, v in expected.items() if "," in k and "stderr" not in k}
    found = {name if "," in (name := NAMES.get(r.metric, r.metric)) else f"{name},none": r.estimate.value for r in results}
    assert found.keys() == values.keys()
    for key, value in found.items():
        assert value == pytest.approx(values[key], rel=1e-4), key
        assert not math.isnan(value)


def test_the_stops_of_the_generation_are_met_and_cut_the_text(both: Any) -> None:
    # otherwise the comparison of texts would say nothing about stops
    _, report = both("zero")
    reasons = {p.finish_reason for s in inspect_samples(report.path, task="gsm8k") for p in s.predictions}
    assert "stop" in reasons
