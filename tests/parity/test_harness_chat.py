"""Under a chat template, tasks of the harness give what lm_eval.simple_evaluate gives: it builds messages, the engine renders them. Expected: lm-eval 0.4.13."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.parity.harness_tasks import compare, ours, theirs, write_task
from tests.parity.programs import ROWS, Harness, read_rows
from tests.parity.test_harness_tasks import ARC, PLAIN, SUMS

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("harness")]

MODES = {
    "plain": {"shots": 0, "fewshot_as_multiturn": False, "system_prompt": None},
    "joined": {"shots": 2, "fewshot_as_multiturn": False, "system_prompt": "Be brief."},
    "multiturn": {"shots": 2, "fewshot_as_multiturn": True, "system_prompt": None},
}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Of every output type that takes a chat template, and what changes messages: a description, a prefix of the answer, an empty context."""
    folder = tmp_path_factory.mktemp("chat-tasks")
    arc, sums, words = (read_rows(ROWS / f"{name}.jsonl")[:5] for name in ("arc_easy", "gsm8k", "lambada_openai"))
    short = {"generation_kwargs": {"until": ["\n"], "max_gen_toks": 12, "do_sample": False}, "fewshot_split": "test", "metric_list": PLAIN}
    by_mean = [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in ("acc", "acc_norm", "acc_mutual_info")]
    write_task(folder, "chosen", arc, **ARC, description="Choose.\n", metric_list=by_mean)
    write_task(folder, "written", sums, **SUMS, **short)
    write_task(folder, "begun", sums, **SUMS, **short, gen_prefix="The answer is")
    last = {"doc_to_text": "{{text.split(' ')[:-1]|join(' ')}}", "doc_to_target": "{{' '+text.split(' ')[-1]}}"}
    write_task(
        folder, "continued", words, **last, output_type="loglikelihood", fewshot_split="test",
        metric_list=[{"metric": m, "aggregation": a, "higher_is_better": m == "acc"} for m, a in (("perplexity", "perplexity"), ("acc", "mean"))],
    )  # fmt: skip
    return folder, ["chosen", "written", "begun", "continued"]


@pytest.mark.parametrize("name", MODES)
def test_a_chat_gives_what_the_harness_gives(name: str, tasks: Any, checkpoints: dict[str, Path], harness: Harness, tmp_path: Path) -> None:
    folder, names = tasks
    mode = dict(MODES[name])
    shots = mode.pop("shots")

    found = ours(
        tmp_path / "run", checkpoints["llama"], folder, [{"name": f"lm-eval/{n}", "shots": shots} for n in names],
        model={"chat_template": "auto", **mode},
    )  # fmt: skip

    expected = theirs(
        harness, checkpoints["llama"], folder, names, num_fewshot=shots, apply_chat_template=True,
        fewshot_as_multiturn=mode["fewshot_as_multiturn"], system_instruction=mode["system_prompt"],
    )  # fmt: skip
    compare(found, expected)
