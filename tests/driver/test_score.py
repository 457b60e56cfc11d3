"""From stored rows to numbers: expected values are counted or computed here, from formulas named beside them."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from raybench.core.config_file import parse
from raybench.core.results import Result, Results
from raybench.driver.run import Report, run
from raybench.driver.score import score_run
from raybench.store.run_dir import RunDir
from tests import own
from tests.driver.runs import read_rows


def evaluate(folder: Path, tasks: list[Any], **changes: Any) -> Report:
    """A run of the fake engine in this process; `first` answers the first option, or 'The answer is 1.'"""
    base: dict[str, Any] = {"name": "s", "models": ["m"], "engine": {"kind": "fake", "answer": "first"}, "pool": "local", "bootstrap": 50}
    return run(parse({**base, "output": str(folder / "run"), "tasks": tasks, **changes}))


def find(results: Results, task: str, metric: str, model: str = "m") -> Result:
    (found,) = [r for r in results.results if (r.model, r.task, r.metric) == (model, task, metric)]
    return found


def rows_of(topic: str) -> list[dict[str, Any]]:
    rows = map(json.loads, Path("raybench/tasks/data/quickstart_choice.jsonl").read_text().splitlines())
    return [row for row in rows if row["topic"] == topic]


def labels_of(topic: str) -> list[int]:
    return [row["answer"] for row in rows_of(topic)]


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])


def test_the_value_is_the_share_of_right_answers(tmp_path: Path) -> None:
    labels = labels_of("biology")

    result = find(evaluate(tmp_path, ["tests.own:BIOLOGY"]).results, "own/biology", "acc")

    assert result.estimate.value == labels.count(0) / len(labels)
    assert (result.estimate.num_samples, result.estimate.num_errors) == (20, 0)
    assert result.value_if_errors_wrong is None


def test_metrics_of_classes_are_scored_from_the_rows(tmp_path: Path) -> None:
    from sklearn.metrics import f1_score

    labels = labels_of("biology")
    task = {"name": "tests.own:BIOLOGY", "metrics": ["f1_macro", "matthews"]}

    report = evaluate(tmp_path, [task])

    f1, matthews = (find(report.results, "own/biology", m) for m in ("f1_macro", "matthews"))
    assert f1.estimate.value == pytest.approx(f1_score(labels, [0] * 20, average="macro"), abs=1e-15)
    assert f1.estimate.stderr is not None
    assert "average:macro|ci:bootstrap-50" in f1.signature
    assert (matthews.estimate.value, matthews.estimate.stderr) == (0.0, 0.0)  # always the first option
    assert score_run(report.path) == report.results


def test_a_group_counts_every_sample_the_same_or_every_member_the_same(tmp_path: Path) -> None:
    tasks = [{"name": "tests.own:SCIENCES"}, {"name": "tests.own:HISTORY", "limit": 5}]

    results = evaluate(tmp_path, tasks).results

    right = [labels_of(t).count(0) for t in ("biology", "physics")]
    group = find(results, "own/sciences", "acc")
    assert group.form == "group"
    assert group.estimate.value == pytest.approx(sum(right) / 40, abs=1e-15)
    assert group.estimate.num_samples == 40
    assert "members:2|n:40|err:0" in group.signature


def test_groups_nest_and_weigh_their_direct_members_equally_where_they_say_so(tmp_path: Path) -> None:
    results = evaluate(tmp_path, ["tests.own:EXAM_EQUAL"]).results

    b, p, h = (labels_of(t).count(0) / 20 for t in ("biology", "physics", "history"))
    assert find(results, "own/sciences", "acc").estimate.value == pytest.approx((b + p) / 2, abs=1e-15)
    assert find(results, "own/exam-equal", "acc").estimate.value == pytest.approx(((b + p) / 2 + h) / 2, abs=1e-15)


def test_a_group_of_groups_weighted_by_samples_is_the_value_over_all_samples(tmp_path: Path) -> None:
    results = evaluate(tmp_path, ["tests.own:EXAM"]).results

    right = sum(labels_of(t).count(0) for t in ("biology", "physics", "history", "language"))
    assert find(results, "own/exam", "acc").estimate.value == pytest.approx(right / 80, abs=1e-15)
    # outer groups stand before inner ones, as in the tables of MMLU
    assert [r.task for r in results.results if r.form == "group"] == ["own/exam", "own/sciences", "own/arts"]


def test_the_error_of_a_group_is_that_of_independent_members(tmp_path: Path) -> None:
    results = evaluate(tmp_path, ["tests.own:ARTS"]).results

    errors = [find(results, f"own/{t}", "acc").estimate.stderr or 0.0 for t in ("history", "language")]
    # variance of a sum of independent terms: (se1/2)^2 + (se2/2)^2
    assert find(results, "own/arts", "acc").estimate.stderr == pytest.approx(math.hypot(*errors) / 2, rel=1e-12)


def test_mmlu_is_one_number_of_57_subjects(tmp_path: Path, shared: Path) -> None:
    data = {"cais/mmlu": {"path": str(shared / "data/mmlu"), "splits": {"test": "test.parquet", "dev": "dev.parquet"}}}
    if not (shared / "data/mmlu/test.parquet").exists():
        pytest.skip("no MMLU in parquet")

    results = evaluate(tmp_path, [{"name": "mmlu", "limit": 3}], data=data, bootstrap=0).results

    leaves = [r for r in results.results if r.form != "group"]
    assert len(leaves) == 57
    whole = find(results, "mmlu", "acc")
    assert whole.estimate.num_samples == 57 * 3
    assert whole.estimate.value == pytest.approx(sum((r.estimate.value or 0) * 3 for r in leaves) / 171, abs=1e-12)
    assert whole.signature.endswith("|PARTIAL")


def test_a_group_with_an_incomplete_member_is_withheld_and_says_which(tmp_path: Path) -> None:
    report = evaluate(tmp_path, ["tests.own:EXAM"])
    store = RunDir.open(report.path)
    next((store.path / "predictions" / "own.physics").rglob("*.parquet")).unlink()

    results = score_run(report.path)

    ids = [row["id"] for row in rows_of("physics")]
    member = find(results, "own/physics", "acc")
    assert (member.estimate.value, member.signature) == (None, "")
    assert member.withheld == f"20 of 20 samples have no answer yet (1 of 1 shards), the first: {', '.join(ids[:3])}"
    for name in ("own/sciences", "own/exam"):
        assert find(results, name, "acc").estimate.value is None
        assert "1 of " in (find(results, name, "acc").withheld or "")
    assert find(results, "own/arts", "acc").estimate.value is not None


ROWS = [{"says": str(i), "target": str(i if i % 2 else -i)} for i in range(20)]


def test_error_rows_are_not_in_the_value_and_the_value_with_them_wrong_stands_beside_it(tmp_path: Path) -> None:
    faults = [{"sample_id": f"test-{i}", "kind": "row"} for i in (1, 2, 3, 4)]
    task = own.echo_task(tmp_path / "test.jsonl", ROWS)

    report = evaluate(tmp_path, [task], engine={"kind": "fake", "answer": "echo", "faults": faults}, max_row_errors=4)

    result = find(report.results, "echo", "exact_match")
    # right: the ten odd numbers and 0, whose negative is written 0; of them 1 and 3 are errors
    assert result.estimate.value == 9 / 16
    assert (result.estimate.num_samples, result.estimate.num_errors) == (16, 4)
    assert result.value_if_errors_wrong == 9 / 20
    assert report.results.warnings == ("m echo: 4 of 20 samples have no answer (refused 4); they are not in the score.",)
    assert "|n:16|err:4|" in result.signature


def test_an_error_among_two_classes_counts_as_the_other_one(tmp_path: Path) -> None:
    from sklearn.metrics import f1_score, matthews_corrcoef

    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": f"is {i} odd?", "odd": i % 3 % 2}) + "\n" for i in range(24)))
    task = {
        "name": "odd", "source": {"path": str(tmp_path / "rows.jsonl")}, "kind": "loglikelihood", "prompt": "{{ text }}", "choices": ["no", "yes"],
        "target": "{{ odd }}", "metrics": ["f1", "f1_micro", "f1_macro", "matthews", "f1_weighted"],
    }  # fmt: skip
    broken = [1, 4, 5, 6]

    whole = evaluate(tmp_path / "whole", [task], engine={"kind": "fake"})
    faults = [{"sample_id": f"test-{i}", "kind": "row"} for i in broken]
    report = evaluate(tmp_path / "faulty", [task], engine={"kind": "fake", "faults": faults}, max_row_errors=4)

    logprobs = {row["sample_id"]: row["output"]["logprobs"] for row in read_rows(whole.path)}
    true = [i % 3 % 2 for i in range(24)]
    answers = [1 - t if i in broken else int(logprobs[f"test-{i}"][1] > logprobs[f"test-{i}"][0]) for i, t in enumerate(true)]
    found = {r.metric: r.value_if_errors_wrong for r in report.results.results}
    assert found["f1"] == pytest.approx(f1_score(true, answers), abs=1e-14)
    assert found["f1_micro"] == pytest.approx(f1_score(true, answers, average="micro"), abs=1e-14)
    assert found["f1_macro"] == pytest.approx(f1_score(true, answers, average="macro"), abs=1e-14)
    assert found["matthews"] == pytest.approx(matthews_corrcoef(true, answers), abs=1e-14)
    assert found["f1_weighted"] is None


def test_a_run_whose_every_row_is_an_error_has_no_value_rather_than_zero(tmp_path: Path) -> None:
    task = own.echo_task(tmp_path / "test.jsonl", ROWS)

    report = evaluate(tmp_path, [task], engine={"kind": "fake", "faults": [{"kind": "nan"}]})

    result = find(report.results, "echo", "exact_match")
    assert (result.estimate.value, result.estimate.stderr, result.estimate.num_errors) == (None, None, 20)
    assert result.value_if_errors_wrong == 0.0
    assert report.exit_code == 4


def test_perplexity_has_no_reading_of_an_error(tmp_path: Path) -> None:
    faults = [{"sample_id": "prose-001", "kind": "row"}]

    report = evaluate(tmp_path, [{"name": "quickstart/prose", "limit": 4}], engine={"kind": "fake", "faults": faults})

    assert find(report.results, "quickstart/prose", "byte_perplexity").value_if_errors_wrong is None


def test_several_filters_give_several_columns_named_after_them(tmp_path: Path) -> None:
    rows = [{"says": "#### 7", "target": "7"}, {"says": "it is 8", "target": "8"}, {"says": "none", "target": "9"}]
    task = own.echo_task(tmp_path / "test.jsonl", rows, extract={"strict": "gsm8k_strict", "flexible": "last_number"})

    report = evaluate(tmp_path, [task], engine={"kind": "fake", "answer": "echo"})

    strict, flexible = (find(report.results, "echo", f"exact_match[{f}]") for f in ("strict", "flexible"))
    assert (strict.estimate.value, flexible.estimate.value) == (1 / 3, 2 / 3)
    assert (strict.share_unparsed, flexible.share_unparsed) == (2 / 3, 1 / 3)
    assert "|metric:exact_match|extract:strict|" in strict.signature
    assert len(report.results.results) == 2


def test_one_filter_leaves_the_metric_its_name(tmp_path: Path) -> None:
    task = own.echo_task(tmp_path / "test.jsonl", [{"says": "it is 8", "target": "8"}], extract="last_number")

    report = evaluate(tmp_path, [task], engine={"kind": "fake", "answer": "echo"})

    assert [r.metric for r in report.results.results] == ["exact_match"]


def clustered_error(right: list[int], clusters: list[Any]) -> float:
    """Miller 2024 (arXiv:2411.00640), section 2.2: SE^2 = s^2 / n + sum over clusters of the products of deviations of pairs, over n^2."""
    n, mean = len(right), sum(right) / len(right)
    independent = sum((x - mean) ** 2 for x in right) / (n - 1) / n
    pairs = sum(
        (right[i] - mean) * (right[j] - mean)
        for i in range(n)
        for j in range(n)
        if i != j and clusters[i] is not None and clusters[i] == clusters[j]
    )
    return math.sqrt(independent + pairs / n**2)


LABELS = [0, 0, 0, 1, 1, 1, 0, 1, 0, 1, 0, 0]
PASSAGES = ["a", "a", "a", "b", "b", "b", "c", "c", "d", "d", "e", "f"]


def test_standard_errors_are_clustered_where_samples_share_a_passage(tmp_path: Path) -> None:
    right = [int(label == 0) for label in LABELS]

    plain = evaluate(tmp_path / "plain", [own.choice_task(tmp_path / "a.jsonl", LABELS)])
    clustered = evaluate(tmp_path / "clustered", [own.choice_task(tmp_path / "b.jsonl", LABELS, clusters=PASSAGES)])

    one, other = (find(r.results, "pick", "acc") for r in (plain, clustered))
    assert one.estimate.value == other.estimate.value == sum(right) / len(right)
    assert one.estimate.stderr == pytest.approx(clustered_error(right, list(range(len(right)))), rel=1e-12)
    assert other.estimate.stderr == pytest.approx(clustered_error(right, PASSAGES), rel=1e-12)
    assert (other.estimate.stderr or 0) > (one.estimate.stderr or 0)


def test_clusters_count_although_the_first_shard_has_none(tmp_path: Path) -> None:
    passages = [None, None, None, *PASSAGES[3:]]
    right = [int(label == 0) for label in LABELS]

    report = evaluate(tmp_path, [own.choice_task(tmp_path / "a.jsonl", LABELS, clusters=passages, shard_size=3)])

    assert find(report.results, "pick", "acc").estimate.stderr == pytest.approx(clustered_error(right, passages), rel=1e-12)


OWN_ENGINE = {"kind": "tests.own:OwnEngine", "colour": "red"}


def test_repeats_and_pass_at_k(tmp_path: Path) -> None:
    # the engine answers `red <repeat>`: of four answers one is right where the target is `red 2`, none where it is `blue`
    rows = [{"says": "q", "target": "red 2"}, {"says": "q", "target": "blue"}]
    changes = {"repeats": 4, "sampling": {"temperature": 1.0}, "metrics": ["exact_match", "pass@1", "pass@2", "pass@4"]}
    task = own.echo_task(tmp_path / "test.jsonl", rows, **changes)

    (tmp_path / "weights.bin").touch()

    results = evaluate(tmp_path, [task], models=[{"checkpoint": str(tmp_path / "weights.bin"), "name": "m"}], engine=OWN_ENGINE).results

    # Chen et al. 2021, equation 1, with n = 4 and c = 1: 1 - C(3, k) / C(4, k) = k / 4
    expected = {"exact_match": 0.25 / 2, "pass@1": 0.25 / 2, "pass@2": 0.5 / 2, "pass@4": 1.0 / 2}
    assert {r.metric: r.estimate.value for r in results.results} == expected
    assert {r.estimate.num_samples for r in results.results} == {2}
    assert all("|repeats:4|" in r.signature for r in results.results)


def test_a_metric_of_one_s_own_is_named_in_table_and_signature(tmp_path: Path) -> None:
    task = own.echo_task(
        tmp_path / "test.jsonl", [{"says": "ab", "target": "x"}, {"says": "abcd", "target": "x"}], metrics=["tests.own:LENGTH"]
    )

    (result,) = evaluate(tmp_path, [task], engine={"kind": "fake", "answer": "echo"}).results.results

    assert result.estimate.value == 3.0
    assert "|metric:length|" in result.signature
    assert "|unit:characters|" in result.signature


def test_shares_of_cut_and_unparsed_answers_are_counted_and_warned_of(tmp_path: Path) -> None:
    rows = [{"says": "12345678901" if i < 3 else "none" if i < 5 else "7", "target": "7"} for i in range(10)]
    task = own.echo_task(tmp_path / "test.jsonl", rows, extract="last_number", sampling={"max_tokens": 10})

    report = evaluate(tmp_path, [task], engine={"kind": "fake", "answer": "echo"})

    result = find(report.results, "echo", "exact_match")
    assert (result.share_length, result.share_unparsed, result.share_truncated) == (0.3, 0.2, 0.0)
    assert report.results.warnings == (
        "m echo: 3 of 10 answers were stopped by max_tokens.",
        "m echo: no answer was found in 2 of 10 generations (exact_match).",
    )
    assert report.exit_code == 0


def test_cut_prompts_are_counted_in_share_signature_and_warning(tmp_path: Path) -> None:
    rows = [{"says": "x" * 50 if i < 2 else "7", "target": "7"} for i in range(10)]
    engine = {"kind": "fake", "answer": "echo", "context": 20, "overlong": "truncate_left"}

    report = evaluate(tmp_path, [own.echo_task(tmp_path / "test.jsonl", rows)], engine=engine)

    result = find(report.results, "echo", "exact_match")
    assert result.share_truncated == 0.2
    assert "|trunc:2|" in result.signature
    assert report.results.warnings == ("m echo: 2 of 10 prompts were cut to fit the context.",)


def test_one_in_a_hundred_is_no_reason_to_warn_and_two_are(tmp_path: Path) -> None:
    def warnings(num: int) -> tuple[str, ...]:
        rows = [{"says": "none" if i < num else "7", "target": "7"} for i in range(100)]
        task = own.echo_task(tmp_path / f"{num}.jsonl", rows, extract="last_number")
        return evaluate(tmp_path / str(num), [task], engine={"kind": "fake", "answer": "echo"}).results.warnings

    assert warnings(1) == ()
    assert len(warnings(2)) == 1


def test_a_limited_run_says_so_in_every_signature(tmp_path: Path) -> None:
    results = evaluate(tmp_path, ["quickstart/choice", "tests.own:SCIENCES"], limit=3).results

    assert all(r.signature.endswith("|PARTIAL") for r in results.results)
    assert all("|limit:3|" in r.signature for r in results.results if r.form != "group")
    assert find(results, "quickstart/choice", "acc").estimate.num_samples == 3


def test_results_json_holds_neither_times_nor_places(tmp_path: Path) -> None:
    one = evaluate(tmp_path / "here", ["quickstart/choice", "quickstart/arithmetic"])
    other = evaluate(tmp_path / "elsewhere", ["quickstart/choice", "quickstart/arithmetic"])

    text = (one.path / "results.json").read_text()
    assert text == (other.path / "results.json").read_text()
    assert str(tmp_path) not in text
    assert not re.search(r"seconds|started|time|\bpid\b|node", text)


def test_scoring_again_gives_the_same_file_and_needs_no_engine(tmp_path: Path) -> None:
    report = evaluate(tmp_path, ["quickstart/choice"], engine={"kind": "fake"})
    before = (report.path / "results.json").read_bytes()
    (report.path / "results.json").unlink()

    assert score_run(report.path) == report.results
    assert (report.path / "results.json").read_bytes() == before


def test_scores_of_single_samples_are_kept_in_order(tmp_path: Path) -> None:
    task = own.echo_task(tmp_path / "test.jsonl", ROWS[:3])

    report = evaluate(
        tmp_path, [task], engine={"kind": "fake", "answer": "echo", "faults": [{"sample_id": "test-1", "kind": "row"}]}, max_row_errors=1
    )

    table = RunDir.open(report.path).scores("echo", "m").to_pylist()
    assert table == [
        {"sample_id": "test-0", "metric": "exact_match", "status": "ok", "stats": [1.0], "extracted": ["0"]},
        {"sample_id": "test-1", "metric": "exact_match", "status": "error", "stats": None, "extracted": None},
        {"sample_id": "test-2", "metric": "exact_match", "status": "ok", "stats": [0.0], "extracted": ["2"]},
    ]


def test_every_model_has_its_own_numbers_in_plan_order(tmp_path: Path) -> None:
    models = [{"checkpoint": "b"}, {"checkpoint": "a"}]

    results = evaluate(tmp_path, ["quickstart/choice", "quickstart/prose"], models=models, engine={"kind": "fake"}).results

    order = list(dict.fromkeys((r.model, r.task) for r in results.results))
    assert order == [("b", "quickstart/choice"), ("b", "quickstart/prose"), ("a", "quickstart/choice"), ("a", "quickstart/prose")]
    values = [find(results, "quickstart/choice", "acc", model=m).estimate.value for m in ("a", "b")]
    assert values[0] != values[1]
