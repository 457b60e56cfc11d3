from __future__ import annotations

from collections.abc import Callable

import pytest

from raybench.core.errors import InternalError
from raybench.core.results import Result, Results
from raybench.report.notes import notes
from raybench.report.table import scale_of, tabulate

Make = Callable[..., Result]


def run_of(*results: Result, name: str = "r") -> Results:
    return Results(run=name, results=results)


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ("acc", "50.0"),
        ("acc_norm", "50.0"),
        ("prompt_level_strict_acc", "50.0"),  # IFEval's, of lm-evaluation-harness
        ("exact_match[strict]", "50.0"),
        ("token_f1", "50.0"),
        ("pass@1", "50.0"),
        ("pass@10", "50.0"),
        ("greedy_acc", "50.0"),
        ("perplexity", "0.50"),
        ("word_perplexity", "0.50"),
        ("bits_per_byte", "0.500"),
        ("matthews", "0.500"),  # runs from -1 to 1: no percentage
    ],
)
def test_a_number_is_written_by_the_family_of_its_metric(metric: str, text: str) -> None:
    assert scale_of(metric).write(0.5) == text


def test_the_lowest_is_best_where_lower_is_better_and_written_ties_are_all_best(make_result: Make) -> None:
    values = {"a": 12.001, "b": 12.004, "c": 13.0}
    results = [make_result(model, metric="perplexity", value=value, higher_is_better=False) for model, value in values.items()]

    row = tabulate([run_of(*results)]).rows[0]

    assert [cell.is_best for cell in row.cells] == [True, True, False]


def test_a_single_number_is_not_the_best_of_anything(make_result: Make) -> None:
    row = tabulate([run_of(make_result("a"), make_result("b", value=None, withheld="doubled keys"))]).rows[0]

    assert not any(cell.is_best for cell in row.cells)


def test_numbers_over_other_samples_or_shots_have_no_best(make_result: Make) -> None:
    a = make_result("a", n=100, signature="task:t|shots:0")
    b = make_result("b", n=20, signature="task:t|shots:5|limit:20")

    table = tabulate([run_of(a, b)])

    assert table.rows[0].num_asked == "20 to 100"
    assert not any(cell.is_best for cell in table.rows[0].cells)
    expected = "arc_easy, acc: not asked alike (n: 100, 20; shots: 0, 5; limit: 20, none); no best is marked"
    assert expected in [note.text for note in notes(table)]


def test_the_run_is_named_only_where_models_clash(make_result: Make) -> None:
    runs = [
        run_of(make_result("a"), make_result("b"), name="one"),
        run_of(make_result("a"), name="two"),
        run_of(make_result("a"), name="two"),
    ]

    labels = [column.label for column in tabulate(runs).columns]

    assert labels == ["a (one)", "b", "a (two #1)", "a (two #2)"]


def test_missing_withheld_undefined_and_failed_are_told_apart(make_result: Make) -> None:
    results = Results(
        run="r",
        results=(
            make_result("has", value=0.5),
            make_result("held", value=None, withheld="foreign keys"),
            make_result("empty", value=None, n=0, errors=100),
            make_result("other", task="another"),
        ),
        failed_models={"bad": "no tokenizer"},
    )

    table = tabulate([results])

    assert [cell.text for cell in table.rows[0].cells] == ["50.0", "withheld (1)", "undefined (2)", "–", "failed (3)"]
    assert table.footnotes == ("foreign keys", "undefined: no sample was answered", "bad: no tokenizer")


def test_models_stand_in_the_order_of_the_configuration_also_those_that_failed(make_result: Make) -> None:
    results = (make_result("c"), make_result("a"))
    failed = {"d": "truncated", "b": "no tokenizer"}

    known = tabulate([Results(run="r", results=results, failed_models=failed, models=("a", "b", "unscored", "c", "d"))])
    unknown = tabulate([Results(run="r", results=results, failed_models=failed)])

    assert [(column.label, column.failure) for column in known.columns] == [
        ("a", None),
        ("b", "no tokenizer"),
        ("c", None),
        ("d", "truncated"),
    ]
    assert [column.label for column in unknown.columns] == ["c", "a", "d", "b"]


def test_equal_reasons_share_a_footnote(make_result: Make) -> None:
    results = [make_result(metric=metric, value=None, withheld="doubled keys") for metric in ("acc", "acc_norm")]

    table = tabulate([run_of(*results)])

    assert table.footnotes == ("doubled keys",)
    assert [row.cells[0].text for row in table.rows] == ["withheld (1)", "withheld (1)"]


def test_the_form_is_named_where_a_task_has_several(make_result: Make) -> None:
    results = run_of(make_result(task="sst2", form="classify"), make_result(task="sst2"), make_result(task="boolq"))

    assert [row.title for row in tabulate([results]).rows] == ["sst2 (classify)", "sst2 (loglikelihood)", "boolq"]


def test_a_head_and_a_prompted_model_stand_side_by_side_on_the_same_samples(make_result: Make) -> None:
    head = make_result("bert", "sst2", form="classify", value=0.9, signature="task:sst2|v:1|split:test|data:d|prompt:a|limit:9")
    asked = make_result("gpt", "sst2", value=0.8, signature="task:sst2|v:1|split:test|data:d|prompt:b|shots:5|limit:9")
    other = make_result("gpt", "sst2", value=0.8, signature="task:sst2|v:1|split:test|data:e|prompt:b|shots:5|limit:9")

    (row,) = tabulate([run_of(head, asked)]).rows
    (apart,) = tabulate([run_of(head, other)]).rows

    assert row.form == "classify, loglikelihood"
    assert [cell.text for cell in row.cells] == ["90.0", "80.0"]
    assert [cell.is_best for cell in row.cells] == [True, False]
    assert apart.difference == "data: d, e"
    assert not any(cell.is_best for cell in apart.cells)


def test_shares_of_zero_are_not_mentioned_nor_those_above_one_percent_of_which_the_run_warns(make_result: Make) -> None:
    result = make_result(share_length=0.0, share_unparsed=0.01, share_truncated=0.011)

    said = notes(tabulate([run_of(result)]))

    assert [(note.text, note.is_warning) for note in said] == [
        ("arc_easy: 1.0 % of the answers have no extractable answer", False),
    ]


def test_two_numbers_for_one_cell_are_refused(make_result: Make) -> None:
    with pytest.raises(InternalError, match="two results for tiny, arc_easy, loglikelihood, acc"):
        tabulate([run_of(make_result(value=0.1), make_result(value=0.2))])
