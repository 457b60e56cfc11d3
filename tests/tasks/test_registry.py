"""Names of tasks and groups."""

from __future__ import annotations

import subprocess
import sys

import pytest

from raybench.core.errors import ConfigError
from raybench.tasks.registry import expand, get_task, task_names
from raybench.tasks.task import Group, Task


def test_every_name_gives_the_task_or_group_of_that_name():
    assert all(get_task(name).name == name for name in task_names())


def test_groups_are_flattened_and_tasks_stand_once():
    found = expand(["mmlu/stem", "gsm8k", "mmlu", "mmlu/anatomy"])
    names = [t.name for t in found.tasks]
    assert len(names) == len(set(names)) == 58
    assert names.index("gsm8k") == 19
    assert [g.name for g in found.groups] == ["mmlu/stem", "mmlu", "mmlu/humanities", "mmlu/social_sciences", "mmlu/other"]


def test_members_of_every_group_exist():
    for name in task_names():
        if isinstance(group := get_task(name), Group):
            assert all(isinstance(get_task(m), Task | Group) for m in group.members)


def test_an_unknown_name_is_answered_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"'gsm8' is no task. Did you mean 'gsm8k'"):
        get_task("gsm8")


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    (tmp_path / "my_tasks_plugin.py").write_text(
        "from raybench.tasks.gsm8k import TASK\nfrom raybench.tasks.task import Group\n"
        "LOOP = Group(name='loop', members=('my_tasks_plugin:LOOP',), metric='acc')\nNUMBER = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_tasks_plugin", None)


@pytest.mark.usefixtures("plugin")
def test_a_task_of_ones_own_is_named_by_module_and_name():
    assert get_task("my_tasks_plugin:TASK") is get_task("gsm8k")


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_tasks_plugin:TASKK", "has no such name.*Did you mean 'TASK'"),
        ("my_tasks_plugin:NUMBER", "has a int there"),
        ("no_such_plugin:TASK", "cannot be imported"),
    ],
)
def test_a_wrong_plugin_is_explained(name, message):
    with pytest.raises(ConfigError, match=message):
        get_task(name)


@pytest.mark.usefixtures("plugin")
def test_a_group_that_contains_itself_is_refused():
    with pytest.raises(ConfigError, match="contains itself"):
        expand(["my_tasks_plugin:LOOP"])


def test_listing_tasks_loads_nothing_heavy():
    code = (
        "import sys; from raybench.tasks.registry import task_names; task_names(); "
        "heavy = {'torch', 'transformers', 'datasets', 'ray', 'scipy', 'lm_eval', 'jinja2'} & set(sys.modules); print(sorted(heavy))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
