"""The configuration: every mistake in one message with its place; overrides, merging, and a round trip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from raybench.core import mistakes as module
from raybench.core.config import RunConfig
from raybench.core.config_file import MAX_BYTES, load, override, parse
from raybench.core.engine_config import ENGINES, CustomConfig, EngineConfig, FakeConfig, engine_config, merge
from raybench.core.errors import ConfigError

MINIMAL = """\
name: a
models: [m]
tasks: [quickstart/choice]
engine: {kind: fake}
"""


def smallest(**changes: Any) -> dict[str, Any]:
    return {"name": "a", "models": ["m"], "tasks": ["quickstart/choice"], "engine": {"kind": "fake"}, **changes}


def message_of(path: Path, text: str | bytes, *settings: str) -> str:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError) as caught:
        load(path, settings)
    assert str(path) in caught.value.message or settings
    return caught.value.message


def parts_of_message(value: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(value)
    return caught.value.message


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run.yaml"


def test_a_small_file_gets_every_default(file: Path) -> None:
    file.write_text(MINIMAL)

    config = load(file)

    assert config == parse(smallest())
    assert config.models[0].checkpoint == "m"
    assert config.tasks[0].name == "quickstart/choice"
    assert (config.pool, config.seed, config.bootstrap, config.max_attempts) == ("auto", 0, 10_000, 3)


UNKNOWN_KEYS = [
    ({"sed": 1}, "sed: unknown key. Did you mean 'seed'?"),
    ({"models": [{"checkpoint": "m", "chat_templat": "auto"}]}, "models[0].chat_templat: unknown key. Did you mean 'chat_template'?"),
    (
        {"models": [{"checkpoint": "m", "sampling": {"temprature": 1}}]},
        "models[0].sampling.temprature: unknown key. Did you mean 'temperat",
    ),
    ({"models": [{"checkpoint": "m", "engine": {"thread": 1}}]}, "models[0].engine.thread: unknown key. Did you mean 'threads'?"),
    ({"models": [{"checkpoint": "m", "resources": {"engine": 1}}]}, "models[0].resources.engine: unknown key. Did you mean 'engines'?"),
    ({"tasks": [{"name": "t", "shot": 5}]}, "tasks[0].shot: unknown key. Did you mean 'shots'?"),
    ({"tasks": ["t", {"name": "u", "engine": {"dtpe": "x"}}]}, "tasks[1].engine.dtpe: unknown key. Did you mean 'dtype'?"),
    ({"tasks": [{"name": "t", "resources": {"gpu": 1}}]}, "tasks[0].resources.gpu: unknown key."),
    (
        {"tasks": [{"name": "t", "source": {"path": "a", "splitt": "b"}, "kind": "rolling", "prompt": "x"}]},
        "tasks[0].source.splitt: unknown key. Did you mean 'split'?",
    ),
    ({"engine": {"kind": "fake", "anser": "echo"}}, "engine.anser: unknown key. Did you mean 'answer'?"),
    ({"engine": {"kind": "fake", "faults": [{"kin": "nan"}]}}, "engine.faults[0].kin: unknown key. Did you mean 'kind'?"),
    ({"resources": {"gpus_per_engin": 1}}, "resources.gpus_per_engin: unknown key. Did you mean 'gpus_per_engine'?"),
    ({"sampling": {"max_token": 1}}, "sampling.max_token: unknown key. Did you mean 'max_tokens'?"),
    ({"ray": {"adress": "x"}}, "ray.adress: unknown key. Did you mean 'address'?"),
    ({"data": {"org/set": {"path": "x", "renam": {}}}}, "data.org/set.renam: unknown key. Did you mean 'rename'?"),
]


@pytest.mark.parametrize(("change", "expected"), UNKNOWN_KEYS, ids=[e.partition(":")[0] for _, e in UNKNOWN_KEYS])
def test_an_unknown_key_is_named_with_its_path_and_what_was_meant(change: dict[str, Any], expected: str) -> None:
    message = parts_of_message(smallest(**change))

    assert expected in message
    assert message.startswith("configuration: 1 mistake\n")
    assert "Known: ." not in message


WRONG_VALUES = [
    ({"name": 5}, "name: Input should be a valid string, found 5."),
    ({"name": "../up"}, "name: expected letters, digits"),
    ({"models": []}, "models: empty, expected at least one."),
    ({"models": "m"}, "models: "),
    ({"tasks": [5]}, "tasks[0]: "),
    ({"limit": 0}, "limit: Input should be greater than or equal to 1, found 0."),
    ({"pool": "laptop"}, "pool: Input should be 'auto', 'local' or 'ray', found 'laptop'."),
    ({"engine": "fake"}, "engine: Input should be a valid dictionary, found 'fake'."),
    ({"engine": {"kind": 3}}, "engine.kind: expected a name, found 3."),
    ({"engine": {"kind": "fak"}}, "engine.kind: 'fak' is not an engine. Did you mean 'fake'? Known: fake, pytorch"),
    ({"engine": {"kind": "fake", "context": "long"}}, "engine.context: Input should be a valid integer"),
    ({"engine": {"kind": "fake", "faults": [{"kind": "rais"}]}}, "engine.faults[0].kind: Input should be 'error', 'raise'"),
    ({"models": [{"checkpoint": "m", "engine": {"kind": "pytroch"}}]}, "models[0].engine.kind: 'pytroch' is not an engine. Did you mean"),
    (
        {"models": [{"checkpoint": "m", "resources": {"engines": 0}}]},
        "models[0].resources.engines: expected auto or a number of at least 1",
    ),
    ({"tasks": [{"name": "t", "kind": "generate"}]}, "tasks[0]: kind: only for a task declared here; add `source`"),
    ({"tasks": [{"name": "t", "source": {"path": "a"}, "kind": "loglikelihood"}]}, "also needs: prompt, choices, target"),
    ({"tasks": [{"name": "t/u", "source": {"path": "a"}, "kind": "rolling", "prompt": "x"}]}, "'t/u' is no task name"),
    ({"tasks": [{"name": "t", "source": {"split": "a"}, "kind": "rolling", "prompt": "x"}]}, "tasks[0].source.path: missing."),
    ({"data": {"a/b": "folder"}}, "data.a/b: "),
]


@pytest.mark.parametrize(("change", "expected"), WRONG_VALUES, ids=[str(c)[:50] for c, _ in WRONG_VALUES])
def test_a_wrong_value_is_told_with_its_path_and_what_was_found(change: dict[str, Any], expected: str) -> None:
    message = parts_of_message(smallest(**change))

    assert expected in message
    assert message.startswith("configuration: 1 mistake\n")


def test_all_mistakes_of_a_file_come_in_one_message_each_with_its_line(file: Path) -> None:
    message = message_of(
        file,
        "name: a\n"  # 1
        "modles: [m]\n"  # 2
        "models:\n"  # 3
        "  - checkpoint: m\n"  # 4
        "    nmae: x\n"  # 5
        "    engine:\n"  # 6
        "      thread: 2\n"  # 7
        "tasks:\n"  # 8
        "  - quickstart/choice\n"  # 9
        "  - {name: t, shots: -1}\n"  # 10
        "engine:\n"  # 11
        "  kind: fake\n"  # 12
        "  answr: echo\n"  # 13
        "resources: {engines: many}\n",  # 14
    )

    assert message.startswith(f"{file}: 6 mistakes\n")
    for expected in (
        "line 2: modles: unknown key. Did you mean 'models'?",
        "line 5: models[0].nmae: unknown key. Did you mean 'name'?",
        "line 7: models[0].engine.thread: unknown key. Did you mean 'threads'?",
        "line 10: tasks[1].shots: Input should be greater than or equal to 0, found -1.",
        "line 13: engine.answr: unknown key. Did you mean 'answer'?",
        "line 14: resources.engines: expected auto or a number of at least 1, found 'many'.",
    ):
        assert expected in message


def test_a_mistake_of_the_run_s_engine_block_is_told_once_however_many_models_override_it() -> None:
    models = [{"checkpoint": f"m{i}", "engine": {"threads": 1 + i}} for i in range(5)]

    message = parts_of_message(smallest(models=models, engine={"kind": "fake", "anser": "echo"}))

    assert message.startswith("configuration: 1 mistake\n")


REFUSED_FILES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "expected a mapping with name, models and tasks, found nothing"),
    "only a comment": ("# nothing\n", "found nothing"),
    "a list": ("- a\n- b\n", "found a list"),
    "a text": ("hello\n", "found 'hello'"),
    "a duplicate key": (MINIMAL + "seed: 1\nseed: 2\n", ":6: not a usable YAML file: the key 'seed' stands twice"),
    "a duplicate key inside": ("name: a\nengine: {kind: fake, kind: pytorch}\n", ":2: not a usable YAML file: the key 'kind' stands twice"),
    "an alias": (MINIMAL + "data: &d {}\nsampling: *d\n", ":6: not a usable YAML file: aliases (*name) are not allowed"),
    "many aliases": ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "aliases (*name) are not allowed"),
    "a python tag": ("name: !!python/object/apply:os.getcwd []\n", ":1: not a usable YAML file: could not determine a constructor"),
    "a python name": ("name: !!python/name:os.system\n", "could not determine a constructor"),
    "not UTF-8": (b"name: caf\xe9\n", "not UTF-8 at byte 9. Save it as UTF-8."),
    "UTF-16": ("name: a\n".encode("utf-16"), "not UTF-8 at byte 0"),
    "two megabytes": ("# " + "x" * 2_000_000, f"2000002 bytes; a configuration has at most {MAX_BYTES}"),
    "an unclosed bracket": ("name: [a\nmodels: b\n", "not a usable YAML file"),
    "a tab": ("models:\n\t- m\n", ":2: not a usable YAML file"),
    "two documents": (MINIMAL + "---\na: 1\n", "not a usable YAML file"),
    "a control character": ("name: a\x00b\n", "not a usable YAML file"),
    "a list as a key": ("[1, 2]: a\n", "not a usable YAML file"),
    "a date that is none": ("seed: 2020-99-99\n", "not a usable YAML file"),
    "brackets without end": ("a: " + "[" * 100_000, "not a usable YAML file"),
}


@pytest.mark.parametrize("name", REFUSED_FILES)
def test_a_file_that_is_no_configuration_is_refused_with_the_reason(file: Path, name: str) -> None:
    text, expected = REFUSED_FILES[name]

    assert expected in message_of(file, text)


def test_a_byte_order_mark_is_no_mistake(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())

    assert load(file) == parse(smallest())


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No such file or directory\. Expected a YAML file"):
        load(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load(tmp_path)


SETTINGS = [
    ("seed=7", ["seed"], 7),
    ("engine.answer=echo", ["engine", "answer"], "echo"),
    ("sampling.stop=[a, b]", ["sampling", "stop"], ["a", "b"]),
    ("tasks.0.shots=5", ["tasks", 0, "shots"], 5),
    ("tasks.0.sampling.temperature=0.5", ["tasks", 0, "sampling", "temperature"], 0.5),
    ("models.0.name=", ["models", 0, "name"], None),
    ("output=a=b", ["output"], "a=b"),
    ("tasks=[x, y]", ["tasks"], ["x", "y"]),
    ("ray.address=10.0.0.1:6379", ["ray", "address"], "10.0.0.1:6379"),
]


def test_a_mistake_of_the_command_line_is_not_looked_for_in_the_file(file: Path) -> None:
    text = MINIMAL.replace("kind: fake", "kind: fake, thread: 1")

    message = message_of(file, text, "limit=0", "engine.foo=1", "tasks.0={name: a, shots: -1}")

    assert "  command line: limit: Input should be greater" in message
    assert "  command line: engine.foo: unknown key." in message
    assert "  command line: tasks[0].shots: Input" in message
    assert "  line 4: engine.thread: unknown key." in message


@pytest.mark.parametrize(("setting", "path", "expected"), SETTINGS, ids=[s for s, _, _ in SETTINGS])
def test_a_setting_overrides_one_field_and_leaves_the_rest(setting: str, path: list[Any], expected: Any) -> None:
    before = smallest(models=[{"checkpoint": "m"}], tasks=[{"name": "t"}])

    after: Any = override(before, [setting])

    for part in path:
        after = after[part]
    assert after == expected
    assert before == smallest(models=[{"checkpoint": "m"}], tasks=[{"name": "t"}])


def test_later_settings_win(file: Path) -> None:
    file.write_text(MINIMAL)

    assert load(file, ["seed=1", "seed=2"]).seed == 2


BAD_SETTINGS = [
    ("seed", "expected path=value"),
    ("=1", "expected path=value"),
    ("tasks.3.shots=1", "'3' is no index of a list of 1"),
    ("tasks.first.shots=1", "'first' is no index of a list of 1"),
    ("tasks.1=x", "'1' is no index of a list of 1"),
    ("models.0.name=x", "'name' lies inside a plain value; write the entry as a mapping in the file"),
    ("name.x.y=1", "'x' lies inside a plain value"),
    ("engine.dtype=[1", "is no YAML value"),
    ("seed=2020-99-99", "is no YAML value"),
    ("engine.dtyp=float32", "engine.dtyp: unknown key. Did you mean 'dtype'?"),
]


@pytest.mark.parametrize(("setting", "expected"), BAD_SETTINGS, ids=[s for s, _ in BAD_SETTINGS])
def test_a_setting_that_leads_nowhere_is_refused(file: Path, setting: str, expected: str) -> None:
    assert expected in message_of(file, MINIMAL, setting)


def test_engine_blocks_merge_field_by_field_and_another_kind_begins_afresh() -> None:
    base = {"kind": "pytorch", "threads": 4, "dtype": "float32"}

    assert merge(base) == base
    assert merge(base, {"dtype": "bfloat16"}, {"threads": 1}) == {"kind": "pytorch", "threads": 1, "dtype": "bfloat16"}
    assert merge(base, {"kind": "fake", "answer": "echo"}) == {"kind": "fake", "answer": "echo"}
    assert merge(base, {"kind": "fake"}, {"threads": 1}) == {"kind": "fake", "threads": 1}
    assert merge(base, {"kind": "pytorch", "threads": 1}) == {"kind": "pytorch", "threads": 1, "dtype": "float32"}
    assert base == {"kind": "pytorch", "threads": 4, "dtype": "float32"}


def test_an_engine_of_one_s_own_keeps_its_further_options() -> None:
    found = engine_config({"kind": "package.module:Class", "threads": 1, "colour": "red"})

    assert isinstance(found, CustomConfig)
    assert found.model_extra == {"colour": "red"}
    with pytest.raises(ConfigError, match=r"engine\.threads: Input should be greater"):
        engine_config({"kind": "package.module:Class", "threads": 0})


def classes_of(model: type[BaseModel], seen: set[type[BaseModel]]) -> set[type[BaseModel]]:
    """A configuration class and all that its fields lead to."""
    if model in seen:
        return seen
    seen.add(model)
    for field in model.model_fields.values():
        inner = module._class_in(field.annotation)
        if inner is not None:
            classes_of(inner, seen)
    return seen


def test_every_field_says_what_it_means() -> None:
    found: set[type[BaseModel]] = set()
    roots: list[type[BaseModel]] = [RunConfig, CustomConfig, *ENGINES.values()]
    for model in roots:
        classes_of(model, found)

    assert len(found) >= 11
    silent = [
        f"{model.__name__}.{name}"
        for model in found
        for name, field in model.model_fields.items()
        # the kind of an engine is told once, in the class above
        if not field.description and not (name == "kind" and issubclass(model, EngineConfig))
    ]
    assert silent == []


def test_what_an_engine_calls_measured_only_are_fields_of_it() -> None:
    for model in ENGINES.values():
        assert model.measured_only <= set(model.model_fields)
    assert not EngineConfig.measured_only
    assert "answer" not in FakeConfig.measured_only


NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)
TASKS = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "label": NAMES,
        "shots": st.integers(0, 9),
        "limit": st.none() | st.integers(1, 9),
        "metrics": st.none() | st.lists(NAMES, max_size=2),
        "sampling": st.fixed_dictionaries({}, optional={"stop": st.lists(st.text(max_size=3), max_size=2), "top_p": st.floats(0.1, 1)}),
        "engine": st.fixed_dictionaries({}, optional={"threads": st.integers(1, 4), "batch_tokens": st.integers(1, 10**6)}),
    },
)
CONFIGS = st.fixed_dictionaries(
    {"name": NAMES, "models": st.lists(st.fixed_dictionaries({"checkpoint": NAMES}), min_size=1, max_size=3)}
    | {"tasks": st.lists(TASKS, min_size=1, max_size=3)},
    optional={
        "seed": st.integers(0, 2**63),
        "pool": st.sampled_from(["auto", "local", "ray"]),
        "engine": st.just({"kind": "fake"}) | st.just({"kind": "my.module:Engine", "option": [1, {"a": None}]}),
        "resources": st.fixed_dictionaries({}, optional={"engines": st.just("auto") | st.integers(1, 9), "memory_gb": st.floats(0.1, 9)}),
        "data": st.dictionaries(NAMES, st.fixed_dictionaries({"path": NAMES}, optional={"where": st.dictionaries(NAMES, st.integers())})),
        "max_row_errors": st.floats(0, 100),
    },
)


@settings(max_examples=30)
@given(CONFIGS)
def test_a_configuration_written_down_reads_back_as_the_same(value: dict[str, Any]) -> None:
    config = parse(value)

    assert parse(config.model_dump(mode="json")) == config
    assert parse(config.model_dump(mode="json", exclude_defaults=True)) == config
    assert parse(yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ray": {"autoscaling": True}, "resources": {"engines": 2}}, "only for a cluster that is joined"),
        (
            {"ray": {"autoscaling": True, "address": "h:1"}, "resources": {"engines": 2}, "pool": "local"},
            "only for a cluster that is joined",
        ),
        ({"ray": {"autoscaling": True, "address": "h:1"}}, "set resources.engines to a number"),
    ],
)
def test_a_cluster_that_grows_is_joined_and_has_a_limit(changes: dict[str, Any], message: str) -> None:
    assert message in parts_of_message(smallest(**changes))
