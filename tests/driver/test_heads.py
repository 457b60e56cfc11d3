"""Encoders with heads, an encoder-decoder, a decoder and a plain module in one run: the same rows whoever computes them, and whatever ends on the way."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raybench.core.config import RunConfig
from raybench.core.config_file import parse
from raybench.core.errors import ConfigError
from raybench.driver.run import run
from tests.driver.runs import (
    PowerCut,
    PowerCutError,
    Together,
    content_rows,
    events_of,
    finish,
    read_rows,
    results_of,
    start,
    wait_for,
    write_config,
)  # fmt: skip
from tests.tiny_models import LABELS, TAGS, label_names, make_checkpoint, make_tokenizer

FORMS = {
    "classifier": ("AutoModelForSequenceClassification", "classify", label_names(LABELS)),
    "tagger": ("AutoModelForTokenClassification", "tag", label_names(TAGS)),
    "finder": ("AutoModelForQuestionAnswering", "span", {}),
    "filler": ("AutoModelForMaskedLM", "fill", {}),
    "plain": ("AutoModel", "embed", {}),
}
"""Name of a BERT: its class, the form it is asked in, its labels."""
OTHERS = {"t5": "generate", "llama": "generate", "module": "classify"}
"""Name of another model: its form."""
COUNT = 12

Configure = Callable[..., RunConfig]


@pytest.fixture(scope="module")
def configure(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Configure:
    import torch

    from tests.own_modules import Bag

    folder = tmp_path_factory.mktemp("models")
    bert = {"max_position_embeddings": 512}
    models: list[dict[str, Any]] = [
        {"name": name, "checkpoint": str(make_checkpoint(folder / name, "bert", auto, **bert, **labels))}
        for name, (auto, _, labels) in FORMS.items()
    ]
    t5 = make_checkpoint(folder / "t5", "t5", "AutoModelForSeq2SeqLM")
    models += [{"name": "t5", "checkpoint": str(t5), "sampling": {"num_beams": 2}}, {"name": "llama", "checkpoint": str(tiny_llama)}]
    torch.manual_seed(0)
    torch.save(Bag(263, len(LABELS)).state_dict(), folder / "bag.pt")
    make_tokenizer("bert").save_pretrained(folder / "tokenizer")
    module = {
        "factory": "tests.own_modules:Bag", "arguments": {"vocabulary": 263, "num_labels": len(LABELS)}, "state": str(folder / "bag.pt"),
        "tokenizer": str(folder / "tokenizer"), "kinds": ["classify"], "labels": list(LABELS),
    }  # fmt: skip
    models.append({"name": "module", "checkpoint": module})

    def make(output: Path, *, pool: str = "local", engines: int = 1, **changes: Any) -> RunConfig:
        return parse(
            {
                "name": "heads",
                "output": str(output),
                "models": models,
                "tasks": [{"name": "tests.own_heads:TASK", "label": "heads", "shard_size": 5, "limit": COUNT}],
                # the same for all: one process after the other holds models of every kind
                "engine": {"kind": "pytorch", "threads": 1, "doc_stride": 16, "max_length": 400},
                "resources": {"engines": engines, "cpus_per_engine": 0.1},
                "pool": pool,
                "bootstrap": 50,
                **changes,
            }
        )

    return make


@pytest.fixture(scope="module")
def reference(configure: Configure, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    """The run in one process, straight through; and that it is worth comparing with."""
    path = tmp_path_factory.mktemp("reference") / "run"

    report = run(configure(path))

    assert (report.exit_code, report.problems) == (0, ())
    rows = read_rows(path)
    assert Counter(row["model"] for row in rows) == dict.fromkeys([*FORMS, *OTHERS], COUNT)
    assert all(row["error_code"] is None for row in rows)
    forms = {r["model"]: r["form"] for r in json.loads(results_of(path))["results"]}
    # each in the first form that its architecture serves, paired on the same samples
    assert forms == {name: form for name, (_, form, _) in FORMS.items()} | OTHERS
    assert len({row["sample_id"] for row in rows}) == COUNT
    return content_rows(path), results_of(path)


def test_a_run_that_ended_in_between_is_completed(configure: Configure, reference: tuple[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "cut"
    with pytest.raises(PowerCutError):
        run(configure(path), pool=PowerCut(7))

    report = run(configure(path))

    assert (report.exit_code, report.num_resumed > 0) == (0, True)
    assert (content_rows(path), results_of(path)) == reference


@pytest.mark.slow
def test_a_killed_driver_is_resumed_by_the_same_command(configure: Configure, reference: tuple[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "run"
    file = write_config(tmp_path, configure(path))

    first = start("run", file)
    wait_for(lambda: len(events_of(path, "commit")) >= 3, first)
    first.kill()

    assert finish(first)[0] == -signal.SIGKILL
    assert 3 <= len(events_of(path, "commit")) < events_of(path, "begin")[0]["shards"]
    assert finish(start("run", file))[0] == 0
    assert events_of(path, "begin")[1]["done"] >= 3
    assert (content_rows(path), results_of(path)) == reference


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
@pytest.mark.parametrize(("engines", "kill_one"), [(1, False), (2, True), (4, False)], ids=["one", "two-of-which-one-dies", "four"])
def test_any_number_of_actors_gives_the_rows_of_one_process(
    engines: int, kill_one: bool, configure: Configure, reference: tuple[str, bytes], ray_cluster: str, tmp_path: Path
) -> None:
    path = tmp_path / "run"

    report = run(configure(path, pool="ray", engines=engines), pool=Together(engines, kill_one=kill_one))

    assert report.exit_code == 0
    assert len({event["pid"] for event in events_of(path, "engine_started")}) >= engines
    assert len(events_of(path, "engine_lost")) == kill_one
    assert (content_rows(path), results_of(path)) == reference


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_options_read_one_by_one_are_the_same_rows_on_two_actors_and_after_an_end_in_between(
    configure: Configure, ray_cluster: str, tmp_path: Path
) -> None:
    rows = Path(__file__).resolve().parents[1] / "parity" / "rows" / "labelled"
    model = make_checkpoint(tmp_path / "chooser", "bert", "AutoModelForSequenceClassification", max_position_embeddings=512, num_labels=1)
    changes = {
        "models": [{"name": "chooser", "checkpoint": str(model)}],
        "tasks": [{"name": "super_glue/copa", "shard_size": 2}],
        "data": {"aps/super_glue:copa": {"path": str(rows), "splits": {"validation": "copa.jsonl"}}},
    }
    run(configure(tmp_path / "once", **changes))
    with pytest.raises(PowerCutError):
        run(configure(tmp_path / "cut", **changes), pool=PowerCut(2))

    reports = [
        run(configure(tmp_path / "cut", **changes)),
        run(configure(tmp_path / "two", pool="ray", engines=2, **changes), pool=Together(2)),
    ]

    assert [report.exit_code for report in reports] == [0, 0]
    assert reports[0].num_resumed > 0
    paths = [tmp_path / name for name in ("once", "cut", "two")]
    assert len({(content_rows(path), results_of(path)) for path in paths}) == 1
    assert [row["request"] for row in read_rows(paths[0])] == ["option-0", "option-1"] * 6


def test_labels_of_another_task_are_refused_before_anything_runs(configure: Configure, tmp_path: Path) -> None:
    config = configure(tmp_path / "run")
    model = config.models[0].model_copy(update={"label_map": {"neutral": "indifferent"}})

    with pytest.raises(ConfigError, match=r"classifier, task 'heads': the checkpoint's labels \(negative, neutral, positive\) are not"):
        run(config.model_copy(update={"models": (model,)}))
    assert not list((tmp_path / "run").rglob("*.parquet"))
