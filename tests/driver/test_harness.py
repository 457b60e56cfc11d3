"""Runs of the harness's tasks: killed, resumed, scored again without model and data, on other actors, on data that lies elsewhere."""

from __future__ import annotations

import gc
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from raybench.core.config import RunConfig
from raybench.core.config_file import parse
from raybench.driver.pool import LocalPool
from raybench.driver.run import run
from tests.driver.runs import PowerCut, PowerCutError, Together, command, content_rows, events_of, results_of

pytestmark = pytest.mark.filterwarnings("ignore")
NUM_SHARDS = 8
CODE = "def longest(resps, docs):\n    size = max(len(r[0]) for r in resps)\n    return [[r[0].ljust(size)] for r in resps]\n"
"""A filter that wants all documents at once."""


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A multiple choice, a text, and a group of both, in 8 shards of 4 rows; their data set is on a hub."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    rows = [{"question": f"{i}+{i % 3}=", "answer": str(i + i % 3), "wrong": str(i + 7), "kind": i % 2} for i in range(32)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "code.py").write_text(CODE)
    asked = {"dataset_path": "nobody/sums", "test_split": "test", "doc_to_text": "{{question}}", "num_fewshot": 2, "fewshot_split": "test"}
    mean = {"aggregation": "mean", "higher_is_better": True}
    chosen = {"output_type": "multiple_choice", "doc_to_choice": ["{{answer}}", "{{wrong}}"], "doc_to_target": 0}
    chosen = {**chosen, "metric_list": [{"metric": "acc", **mean}], "repeats": 2}
    written = {"output_type": "generate_until", "doc_to_target": "{{answer}}", "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8}}
    written["metric_list"] = [{"metric": "exact_match", **mean}]
    for name, own in (("chosen", chosen), ("written", written)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"task": name, **asked, **own}))
    padded = (
        "filter_list:\n- name: padded\n  filter:\n  - function: custom\n    filter_fn: !function code.longest\n  - function: take_first\n"
    )
    with (folder / "written.yaml").open("a") as file:
        file.write(padded)
    rule = [{"metric": "acc", "weight_by_size": True}]
    (folder / "sums.yaml").write_text(yaml.safe_dump({"group": "sums", "task": ["chosen", "written"], "aggregate_metric_list": rule}))
    return folder


def configure(tasks: Path, checkpoint: Path, output: Path, **changes: Any) -> RunConfig:
    base = {
        "name": "harness",
        "models": [{"checkpoint": str(checkpoint), "name": "model", "chat_template": "auto"}],
        "tasks": [{"name": "lm-eval/sums", "shard_size": 4, "limit": 16}],
        "lm_eval": {"include_path": [str(tasks)]},
        "data": {"nobody/sums": {"path": str(tasks), "splits": {"test": "rows.jsonl"}}},
        "engine": {"kind": "pytorch", "dtype": "float32", "threads": 1},
        "pool": "local",
        "bootstrap": 20,
    }
    return parse({**base, "output": str(output), **changes})


def files_of(run: Path) -> dict[str, bytes]:
    """What is written in the harness's own layout, but for the time of the run in names and results."""
    files = {path.name.rpartition("_")[0]: path.read_bytes() for path in (run / "lm-eval" / "model").iterdir()}
    results = json.loads(files.pop("results"))
    del results["date"]
    return {**files, "results": json.dumps(results).encode()}


@pytest.mark.xdist_group("harness")
def test_a_run_that_was_killed_and_one_scored_again_are_the_run_that_was_not(
    tasks: Path, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, cut = tmp_path / "straight", tmp_path / "cut"
    assert run(configure(tasks, tiny_llama, straight)).exit_code == 0
    with pytest.raises(PowerCutError):
        run(configure(tasks, tiny_llama, cut), pool=PowerCut(3))

    report = run(configure(tasks, tiny_llama, cut))

    assert (report.exit_code, len(events_of(cut, "commit"))) == (0, NUM_SHARDS)
    assert len(events_of(cut, "run", segment=-1)) == NUM_SHARDS - 3
    assert (content_rows(cut), results_of(cut), files_of(cut)) == (content_rows(straight), results_of(straight), files_of(straight))

    results, files = results_of(cut), files_of(cut)
    (cut / "results.json").unlink()
    (tasks / "rows.jsonl").unlink()
    tiny_llama.rename(tiny_llama.with_name("away"))
    try:
        assert command(monkeypatch, "score", cut) == 0
    finally:
        tiny_llama.with_name("away").rename(tiny_llama)
    assert (results_of(cut), files_of(cut)) == (results, files)


@pytest.mark.xdist_group("harness")
def test_rows_are_chosen_and_columns_renamed_by_the_data_map(tasks: Path, tmp_path: Path, tiny_llama: Path) -> None:
    file = tasks / "rows.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    only = tasks / "only.jsonl"
    only.write_text("".join(json.dumps(row) + "\n" for row in rows if row["kind"] == 1))
    file.write_text("".join(json.dumps({"asked": row.pop("question"), **row}) + "\n" for row in rows))
    where = {"path": str(tasks), "splits": {"test": "rows.jsonl"}, "rename": {"asked": "question"}, "where": {"kind": 1}}
    engine = {"kind": "fake"}

    run(configure(tasks, tiny_llama, tmp_path / "mapped", data={"nobody/sums": where}, engine=engine))

    run(
        configure(
            tasks, tiny_llama, tmp_path / "plain", data={"nobody/sums": {"path": str(tasks), "splits": {"test": only.name}}}, engine=engine
        )
    )
    assert [d["doc"]["question"] for d in documents(tmp_path / "mapped")] == [row["question"] for row in map(json.loads, only.open())]
    assert content_rows(tmp_path / "mapped") == content_rows(tmp_path / "plain")


@pytest.mark.xdist_group("harness")
def test_the_harness_s_documents_are_gone_before_engines_start(tasks: Path, tiny_llama: Path, tmp_path: Path) -> None:
    from lm_eval.api.task import Task

    def tasks_with_documents() -> int:
        gc.collect()
        return sum(isinstance(thing, Task) and getattr(thing, "dataset", None) is not None for thing in gc.get_objects())

    class Looking(LocalPool):
        def start(self, *args: Any) -> None:
            alive.append(tasks_with_documents())
            super().start(*args)

    alive: list[int] = []
    before = tasks_with_documents()  # of other tests

    report = run(configure(tasks, tiny_llama, tmp_path / "run", engine={"kind": "fake"}), pool=Looking())

    assert report.exit_code == 0
    assert alive == [before]


def documents(run: Path) -> list[dict[str, Any]]:
    (file,) = (run / "lm-eval" / "model").glob("samples_chosen_*.jsonl")
    return [json.loads(line) for line in file.open()]


@pytest.mark.xdist_group("harness")
def test_wrong_answers_are_those_to_which_the_harness_itself_gives_less_than_1(
    tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    run(configure(tasks, tmp_path / "none", out, engine={"kind": "fake"}))
    capsys.readouterr()

    assert command(monkeypatch, "samples", out, "--task", "lm-eval/chosen", "--wrong", "--json", "-n", "99") == 0

    found = [json.loads(line)["sample"]["fields"] for line in capsys.readouterr().out.splitlines()]
    assert found == [logged["doc"] for logged in documents(out) if logged["acc"] < 1]
    assert 0 < len(found) < 16


@pytest.mark.xdist_group("harness")
def test_means_have_the_normal_interval_of_their_standard_error(tasks: Path, tmp_path: Path) -> None:
    from scipy.stats import norm

    out = tmp_path / "run"
    run(configure(tasks, tmp_path / "none", out, engine={"kind": "fake"}))

    found = {(r["task"], r["metric"]): r for r in json.loads(results_of(out))["results"]}
    for task in ("lm-eval/chosen", "lm-eval/sums"):
        result = found[task, "acc"]
        assert result["ci95"] == pytest.approx(norm.interval(0.95, result["value"], result["stderr"]))
        assert "|ci:normal" in result["signature"]
    nothing = found["lm-eval/written", "exact_match[padded]"]
    assert (nothing["value"], nothing["stderr"], nothing["ci95"]) == (0, 0, None)  # the fake engine's texts are no numbers
    assert "ci:" not in nothing["signature"]


@pytest.mark.xdist_group("harness")
def test_files_in_the_layout_of_the_harness_keep_their_names_when_a_run_is_copied(
    tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, copy = tmp_path / "run", tmp_path / "copy"
    run(configure(tasks, tmp_path / "none", out, engine={"kind": "fake"}))
    shutil.copytree(out, copy, copy_function=shutil.copyfile)  # without times
    shutil.rmtree(copy / "lm-eval")

    assert command(monkeypatch, "score", copy) == 0

    files = {path.name: path.read_bytes() for path in (out / "lm-eval" / "model").iterdir()}
    assert {path.name: path.read_bytes() for path in (copy / "lm-eval" / "model").iterdir()} == files


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_three_actors_give_what_one_process_gives(tasks: Path, tiny_llama: Path, ray_cluster: str, tmp_path: Path) -> None:
    run(configure(tasks, tiny_llama, tmp_path / "one"))
    three = {"pool": "ray", "resources": {"engines": 3, "cpus_per_engine": 0.1}}

    report = run(configure(tasks, tiny_llama, tmp_path / "three", **three), pool=Together(3))

    assert report.exit_code == 0
    assert len({event["engine"] for event in events_of(tmp_path / "three", "run")}) == 3
    assert content_rows(tmp_path / "three") == content_rows(tmp_path / "one")
    assert results_of(tmp_path / "three") == results_of(tmp_path / "one")
    assert files_of(tmp_path / "three") == files_of(tmp_path / "one")
