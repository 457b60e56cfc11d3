"""What a configuration names: tasks, groups, and the overrides on their entries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raybench.core.config_file import parse
from raybench.core.errors import ConfigError
from raybench.core.types import Kind
from raybench.driver.catalog import Catalog, open_catalog
from tests import own


def catalog(*tasks: Any) -> Catalog:
    return open_catalog(parse({"name": "a", "models": ["m"], "tasks": list(tasks), "engine": {"kind": "fake"}}))


def test_tasks_stand_in_the_order_of_the_configuration_under_their_labels() -> None:
    found = catalog("quickstart/prose", {"name": "quickstart/choice", "label": "mine"}, "tests.own:BIOLOGY")

    assert [e.label for e in found.entries] == ["quickstart/prose", "mine", "own/biology"]
    assert found.by_label["mine"].task.name == "quickstart/choice"
    assert found.groups == []


def test_a_group_stands_for_its_members_all_the_way_down_with_the_entry_s_overrides() -> None:
    found = catalog({"name": "tests.own:EXAM", "shots": 3, "limit": 5})

    assert [e.label for e in found.entries] == ["own/biology", "own/physics", "own/history", "own/language"]
    assert {(e.config.shots, e.config.limit) for e in found.entries} == {(3, 5)}
    assert {g.name: g.members for g in found.groups} == {
        "own/exam": ("own/sciences", "own/arts"),
        "own/sciences": ("own/biology", "own/physics"),
        "own/arts": ("own/history", "own/language"),
    }


def test_mmlu_is_57_tasks_and_five_groups() -> None:
    found = catalog("mmlu")

    assert (len(found.entries), len(found.groups)) == (57, 5)


def test_a_task_can_be_declared_in_the_configuration(tmp_path: Path) -> None:
    (entry,) = catalog(own.echo_task(tmp_path / "a.jsonl", [{"says": "x", "target": "y"}], label="shown")).entries

    assert (entry.label, entry.task.name, list(entry.task.forms)) == ("shown", "echo", [Kind.GENERATE])


def test_all_unknown_tasks_and_metrics_come_in_one_message(tmp_path: Path) -> None:
    unknown = {"metrics": ["acc_nrm", "acc", "exact_mach"]}
    declared = own.echo_task(tmp_path / "a.jsonl", [{"says": "x", "target": "y"}], metrics=["exact_mathc"], extract="last_nmber")

    with pytest.raises(ConfigError) as caught:
        catalog(
            "quickstart/chioce",
            {"name": "gsm9k", **unknown},
            "no.module:TASK",
            {"name": "quickstart/choice", "label": "c", **unknown},
            declared,
        )

    lines = caught.value.message.splitlines()
    assert [line.partition("`raybench list")[0].strip() for line in lines] == [
        "'quickstart/chioce' is no task. Did you mean 'quickstart/choice'?",
        "task 'gsm9k': metric 'acc_nrm': there is no such metric. Did you mean 'acc_norm'?",
        "task 'gsm9k': metric 'exact_mach': there is no such metric. Did you mean 'exact_match'?",
        "'gsm9k' is no task. Did you mean 'gsm8k'?",
        "'no.module:TASK': the module 'no.module' cannot be imported: No module named 'no'. It must be installed or on PYTHONPATH.",
        "task 'c': metric 'acc_nrm': there is no such metric. Did you mean 'acc_norm'?",
        "task 'c': metric 'exact_mach': there is no such metric. Did you mean 'exact_match'?",
        "task 'echo': metric 'exact_mathc': there is no such metric. Did you mean 'exact_match'?",
        "task 'echo': 'last_nmber' is no extractor. Did you mean 'last_number'? Known: boxed, first_line, first_word, gsm8k_flexible, "
        "gsm8k_strict, last_number, letter; or write regex:PATTERN.",
    ]


def test_metrics_of_another_kind_come_in_one_message() -> None:
    (entry,) = catalog({"name": "quickstart/choice", "metrics": ["exact_match", "acc", "token_perplexity", "word_perplexity"]}).entries

    with pytest.raises(ConfigError) as caught:
        entry.form(Kind.LOGLIKELIHOOD)

    assert caught.value.message.splitlines() == [
        "task 'quickstart/choice': metric 'exact_match' is for generate, and the task is asked as loglikelihood.",
        "task 'quickstart/choice': metric 'word_perplexity' is for rolling, and the task is asked as loglikelihood.",
    ]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (["quickstart/choice", "quickstart/choice"], "'quickstart/choice' stands twice; give one of them a `label`"),
        ([{"name": "quickstart/choice", "label": "a"}, {"name": "quickstart/prose", "label": "a"}], "'a' stands twice"),
        (["tests.own:EXAM", "tests.own:BIOLOGY"], "'own/biology' stands twice"),
        ([{"name": "mmlu", "label": "a"}], "'mmlu' is a group; its members keep their names, so it takes no `label`"),
        # both would be kept in the folder x.y of the run
        (
            [{"name": "quickstart/choice", "label": "x/y"}, {"name": "quickstart/choice", "label": "x.y", "shots": 3}],
            "'x/y' and 'x.y' would share the folder 'x.y'; give one of them another `label`",
        ),
    ],
    ids=["a task", "a label", "a member", "a group's label", "a folder"],
)
def test_what_could_not_be_told_apart_is_refused(tasks: list[Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        catalog(*tasks)


def test_a_form_is_asked_for_the_run_s_metrics() -> None:
    (entry,) = catalog({"name": "quickstart/choice", "metrics": ["acc_bytes"]}).entries

    assert entry.form(Kind.LOGLIKELIHOOD).metrics == ("acc_bytes",)
    assert not entry.form(Kind.LOGLIKELIHOOD).has_unconditional


def test_a_metric_that_needs_the_options_alone_has_them_asked() -> None:
    (entry,) = catalog({"name": "quickstart/choice", "metrics": ["acc", "acc_mutual_info"]}).entries

    assert entry.form(Kind.LOGLIKELIHOOD).has_unconditional
