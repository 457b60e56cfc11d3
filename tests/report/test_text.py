from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

import pytest

from raybench.core.errors import ConfigError
from raybench.core.results import Result, Results, results_from_json, results_to_json
from raybench.report import render

MARKDOWN = """\
| Task | Form | Metric | n | small | large | broken |
| :-- | :-- | :-- | --: | --: | --: | --: |
| arc_easy | loglikelihood | acc, % ↑ | 1200 | 41.2 ± 1.4 | **60.0 ± 1.4** | failed (1) |
| arc_easy | loglikelihood | acc_norm, % ↑ | 1200 | **50.0 ± 1.4** | **50.0 ± 1.4** | failed (1) |
| gsm8k | generate | exact_match\\[strict\\], % ↑ | 20 | 25.0 | withheld (2) | failed (1) |
| wikitext | rolling | word_perplexity ↓ | 12 | 23.46 | **12.00** | failed (1) |
| *suite* | group | acc, % ↑ | 100 | 33.1 | withheld (3) | failed (1) |

- (1) broken: model.safetensors is truncated
- (2) 2 of 20 keys are missing
- (3) member gsm8k is withheld
- arc_easy, small: 3 errors; acc 41.1, acc_norm 49.9 if they were wrong
- gsm8k, small: 0.5 % of the answers have no extractable answer
- warning: arc_easy: 3 prompts do not fit into 2048 tokens
- **PARTIAL: limit:20; not the whole data set, not to be compared with full runs**

<details><summary>Signatures</summary>

```text
small: task:arc_easy|v:1|form:loglikelihood|split:test|shots:0|n:1197|err:3|metric:acc
"""
LATEX = r"""% needs \usepackage{booktabs}
\begin{tabular}{lllrrrr}
\toprule
Task & Form & Metric & n & small & large & broken \\
\midrule
arc\_easy & loglikelihood & acc, \% $\uparrow$ & 1200 & 41.2 $\pm$ 1.4 & \textbf{60.0 $\pm$ 1.4} & failed (1) \\
arc\_easy & loglikelihood & acc\_norm, \% $\uparrow$ & 1200 & \textbf{50.0 $\pm$ 1.4} & \textbf{50.0 $\pm$ 1.4} & failed (1) \\
gsm8k & generate & exact\_match{[}strict{]}, \% $\uparrow$ & 20 & 25.0 & withheld (2) & failed (1) \\
wikitext & rolling & word\_perplexity $\downarrow$ & 12 & 23.46 & \textbf{12.00} & failed (1) \\
\midrule
suite & group & acc, \% $\uparrow$ & 100 & 33.1 & withheld (3) & failed (1) \\
\bottomrule
\end{tabular}
\par{\footnotesize (1) broken: model.safetensors is truncated}
"""


def test_markdown_is_a_github_table_with_notes_and_folded_signatures(mixed: Results) -> None:
    text = render([mixed], "markdown")

    assert text.startswith(MARKDOWN)
    assert text.endswith("group:suite|v:1|members:arc_easy,gsm8k\n```\n\n</details>\n")


def test_markdown_text_from_outside_cannot_break_the_table_or_the_fold(make_result: Callable[..., Result]) -> None:
    nasty = make_result(model="a|b<img>", task="*t*_u_` __init__ a_b", signature="```</details>")

    text = render([Results(run="r", results=(nasty,))], "markdown")

    assert r"**a\|b\<img\> (run r)**" in text
    assert r"| \*t\*\_u\_\` \_\_init\_\_ a_b |" in text
    assert "'''</details>" in text


def test_latex_is_a_booktabs_tabular(mixed: Results) -> None:
    text = render([mixed], "latex")

    assert text.startswith(LATEX)
    assert text.splitlines()[-1] == "% group:suite|v:1|members:arc_easy,gsm8k"


def test_latex_special_characters_are_escaped(make_result: Callable[..., Result]) -> None:
    # the ten special characters of TeX (Knuth, The TeXbook, chapter 7), and < > |, which the OT1 encoding prints as something else
    nasty = make_result(task=r"\input{x} $a$ & # % _ ^ ~ < > |")

    text = render([Results(run="r", results=(nasty,))], "latex")

    expected = (
        r"\textbackslash{}input\{x\} \$a\$ \& \# \% \_ \textasciicircum{} \textasciitilde{} "
        r"\textless{} \textgreater{} \textbar{} & acc, \% $\uparrow$"
    )
    assert expected in text


def test_csv_has_one_row_a_result_and_one_a_failed_model_with_unscaled_numbers(mixed: Results) -> None:
    rows = list(csv.DictReader(io.StringIO(render([mixed], "csv"))))

    assert len(rows) == len(mixed.results) + 1
    first = {key: value for key, value in rows[0].items() if value}
    assert first == {
        "run": "quick",
        "model": "small",
        "task": "arc_easy",
        "form": "loglikelihood",
        "metric": "acc",
        "value": "0.4123",
        "stderr": "0.0142",
        "ci95_low": "0.385",
        "ci95_high": "0.4401",
        "num_samples": "1197",
        "num_errors": "3",
        "value_if_errors_wrong": "0.4112",
        "higher_is_better": "true",
        "signature": "task:arc_easy|v:1|form:loglikelihood|split:test|shots:0|n:1197|err:3|metric:acc",
    }
    assert rows[7]["withheld"] == "2 of 20 keys are missing"
    assert rows[7]["value"] == ""
    assert (rows[-1]["model"], rows[-1]["failed"]) == ("broken", "model.safetensors is truncated")


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+cmd", "'+cmd"),
        ("-cmd", "'-cmd"),
        ("@SUM(A1)", "'@SUM(A1)"),
        (" =1+1", "' =1+1"),
        ("\t=1+1", "' =1+1"),
        ("-1.5e-3", "-1.5e-3"),
        ("-inf", "'-inf"),  # no number to a spreadsheet
        ("a=1", "a=1"),
    ],
)
def test_csv_cells_are_never_formulas(make_result: Callable[..., Result], name: str, cell: str) -> None:
    rows = list(csv.DictReader(io.StringIO(render([Results(run="r", results=(make_result(name),))], "csv"))))

    assert rows[0]["model"] == cell


def test_csv_leaves_negative_numbers_alone(make_result: Callable[..., Result]) -> None:
    results = Results(run="r", results=(make_result(metric="matthews", value=-0.25, ci95=(-0.5, 0.0)),))

    row = next(csv.DictReader(io.StringIO(render([results], "csv"))))

    assert (row["value"], row["ci95_low"]) == ("-0.25", "-0.5")


def test_json_is_exact_and_free_of_control_characters(make_result: Callable[..., Result]) -> None:
    results = Results(run="\x1b[2J \x9b \u202e \x7f \ud800 中文", results=(make_result(value=0.1 + 0.2),))

    text = render([results], "json")

    assert results_from_json(json.loads(text)) == results
    assert "中文" in text
    assert all(character == "\n" or character.isprintable() for character in text)


def test_json_of_several_runs_is_a_list(mixed: Results) -> None:
    assert json.loads(render([mixed, mixed], "json")) == [results_to_json(mixed)] * 2


def test_nothing_to_report_and_unknown_formats_are_refused(mixed: Results) -> None:
    with pytest.raises(ConfigError, match="no run was given"):
        render([], "json")
    with pytest.raises(ConfigError, match=r"'html' is not a format\. Known: terminal, markdown"):
        render([mixed], "html")  # type: ignore[arg-type]  # what a user may type
