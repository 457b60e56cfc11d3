from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import pytest
from rich.cells import cell_len

from raybench.core.results import Result, Results
from raybench.report import render

# Written by hand from the invented numbers in conftest.py: 0.4123 -> 41.2, 0.5 and 0.5004 are both written 50.0 and so are a tie.
SEVERAL = """\
 ────────────────────────────────────────────────────────────────────────────────────────────
 Task      Form           Metric                       n        small         large      broken
 ────────────────────────────────────────────────────────────────────────────────────────────
 arc_easy  loglikelihood  acc, % ↑                  1200   41.2 ± 1.4   *60.0 ± 1.4  failed (1)
 arc_easy  loglikelihood  acc_norm, % ↑             1200  *50.0 ± 1.4   *50.0 ± 1.4  failed (1)
 gsm8k     generate       exact_match[strict], % ↑    20         25.0  withheld (2)  failed (1)
 wikitext  rolling        word_perplexity ↓           12        23.46        *12.00  failed (1)
 ────────────────────────────────────────────────────────────────────────────────────────────
 suite     group          acc, % ↑                   100         33.1  withheld (3)  failed (1)
 ────────────────────────────────────────────────────────────────────────────────────────────
* best of its row
(1) broken: model.safetensors is truncated
(2) 2 of 20 keys are missing
(3) member gsm8k is withheld
arc_easy, small: 3 errors; acc 41.1, acc_norm 49.9 if they were wrong
gsm8k, small: 0.5 % of the answers have no extractable answer
warning: arc_easy: 3 prompts do not fit into 2048 tokens
PARTIAL: limit:20; not the whole data set, not to be compared with full runs
every task: v:1
small: task:arc_easy|form:loglikelihood|split:test|shots:0|n:1197|err:3|metric:acc
large: task:arc_easy|form:loglikelihood|split:test|shots:0|n:1200|err:0|metric:acc
small: task:arc_easy|form:loglikelihood|split:test|shots:0|n:1197|err:3|metric:acc_norm
large: task:arc_easy|form:loglikelihood|split:test|shots:0|n:1200|err:0|metric:acc_norm
task:gsm8k|form:generate|limit:20|metric:exact_match
task:wikitext|form:rolling|split:test|shots:0|n:12|err:0|metric:word_perplexity
group:suite|v:1|members:arc_easy,gsm8k
"""
ONE = """\
small (run quick)
 Task      Metric                    Value  ± stderr        95% CI     n  errors
 arc_easy  acc, % ↑                   41.2       1.4  [38.5, 44.0]  1197       3
 arc_easy  acc_norm, % ↑              50.0       1.4                1197       3
 gsm8k     exact_match[strict], % ↑   25.0                            20       0
 wikitext  word_perplexity ↓         23.46                            12       0
 suite     acc, % ↑                   33.1                           100       0
"""


def without_rules(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.strip().startswith("─"))


def test_several_models_stand_side_by_side_with_reasons_and_signatures_below(mixed: Results) -> None:
    text = render([mixed], "terminal")

    assert without_rules(text) == without_rules(SEVERAL)


def test_groups_are_set_apart_by_a_rule(mixed: Results) -> None:
    lines = render([mixed], "terminal").splitlines()

    suite = next(i for i, line in enumerate(lines) if line.strip().startswith("suite"))
    assert set(lines[suite - 1].strip()) == {"─"}
    assert sum(set(line.strip()) == {"─"} for line in lines) == 4


def test_one_model_is_shown_in_detail(mixed: Results) -> None:
    one = dataclasses.replace(mixed, results=mixed.results[:5], failed_models={}, warnings=())

    text = render([one], "terminal")

    assert without_rules(text).startswith(ONE)
    assert "arc_easy: 3 errors; acc 41.1, acc_norm 49.9 if they were wrong\n" in text


def test_a_single_metric_is_not_named_again_in_the_error_line(make_result: Callable[..., Result]) -> None:
    result = make_result(value=0.43, n=97, errors=3, value_if_errors_wrong=0.412)

    text = render([Results(run="r", results=(result,))], "terminal")

    assert "arc_easy: 3 errors; 41.2 if they were wrong\n" in text


@pytest.mark.parametrize("width", [50, 80, 120])
def test_no_line_is_wider_than_the_terminal_and_no_model_is_lost(mixed: Results, width: int) -> None:
    text = render([mixed], "terminal", width=width)

    assert max(cell_len(line) for line in text.splitlines()) <= width
    flat = re.sub(r"\s", "", text)
    assert all(name in flat for name in ("small", "large", "broken"))


def test_signatures_say_once_what_they_share_and_are_folded_between_their_parts(make_result: Callable[..., Result]) -> None:
    end = "engine:pytorch-2.13.0|device:cpu|dtype:fp32|seed:0|ci:bootstrap-10000"
    two = (
        make_result(signature=f"task:arc_easy|v:1|n:1197|metric:acc|{end}"),
        make_result(task="lambada", signature=f"task:lambada|v:1|n:20|metric:acc|{end}"),
        make_result(task="suite", form="group", signature="group:suite|v:1|members:2"),
        make_result(task="gone", value=None, withheld="a key is missing", signature=""),
    )

    text = render([Results(run="r", results=two)], "terminal", width=60)

    # written by hand
    assert text.endswith(
        "every task: v:1|metric:acc|engine:pytorch-2.13.0|device:cpu|\n"
        "  dtype:fp32|seed:0|ci:bootstrap-10000\n"
        "task:arc_easy|n:1197\n"
        "task:lambada|n:20\n"
        "group:suite|v:1|members:2\n"
    )


def test_what_all_tasks_of_a_model_share_stands_once(make_result: Callable[..., Result]) -> None:
    def signed(model: str, task: str, chat: str, dtype: str) -> Result:
        return make_result(model, task, signature=f"task:{task}|v:1|n:9|chat:{chat}|engine:x|dtype:{dtype}")

    four = (
        signed("a", "t", "no", "fp32"),
        signed("b", "t", "yes", "fp32"),
        signed("a", "u", "no", "fp32"),
        signed("b", "u", "yes", "bf16"),
    )

    text = render([Results(run="r", results=four)], "terminal", width=60)

    # written by hand
    assert text.endswith(
        "every task: v:1|n:9|engine:x\na: chat:no|dtype:fp32\nb: chat:yes\na: task:t\nb: task:t|dtype:fp32\na: task:u\nb: task:u|dtype:bf16\n"
    )


def test_the_quickstart_s_table_fits_80_columns_without_folding_a_word(make_result: Callable[..., Result]) -> None:
    results = (
        make_result(task="quickstart/arithmetic", metric="exact_match", stderr=0.016, ci95=(0.008, 0.067)),
        make_result(task="quickstart/prose", metric="word_perplexity", value=99.26, stderr=5.54, ci95=(89.16, 110.83), form="rolling"),
    )

    text = render([Results(run="r", results=results)], "terminal", width=80)

    assert max(cell_len(line) for line in text.splitlines()) <= 80
    assert "quickstart/arithmetic exact_match, % ↑" in text
    assert "[89.16, 110.83]" in text


def test_the_best_is_bold_and_warnings_are_coloured_where_styles_are_wanted(mixed: Results) -> None:
    text = render([mixed], "terminal", is_styled=True)

    assert re.search(r"\x1b\[1m *60\.0 ± 1\.4\x1b\[0m", text)
    assert "\ngsm8k, small: 0.5 %" in text
    assert "\x1b[33mwarning: arc_easy" in text
    assert "\x1b[1;33mPARTIAL" in text
    assert "\x1b[2mgroup:suite" in text
    assert "* best of its row" not in text


def test_escape_sequences_and_markup_of_models_and_tasks_do_not_reach_the_terminal(make_result: Callable[..., Result]) -> None:
    nasty = make_result(
        model="\x1b[2J\x1b]0;title\x07[red]m[/red]\x9b31m\u202e",
        task="t\r\n\x1b[1A[/]x\x00\x7f\ud800",
        metric="acc\x1b[31m[link=http://x]y[/link]",
        signature="task:\x1bPq\x1b\\s|v:1",
    )
    results = Results(run="\x1b[0m[dim]r", results=(nasty,), warnings=("\x1b[5mblink[/blink]",), failed_models={"\x1b[7mf": "\x1bcreset"})

    for format in ("terminal", "markdown", "latex", "csv"):
        text = render([results], format, width=300)

        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", text)
        text.encode()
    terminal = render([results], "terminal", width=300)
    assert "[red]m[/red]" in terminal
    assert "acc[link=http://x]y[/link]" in terminal
    assert "warning: blink[/blink]" in terminal


def test_without_results_the_reason_still_stands_there() -> None:
    text = render([Results(run="r", results=(), failed_models={"m": "no such file"})], "terminal")

    assert text == "No results.\n(1) m: no such file\n"
