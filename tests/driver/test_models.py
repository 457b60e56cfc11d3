"""Checkpoints of a run: expanded, named by their content, and refused before an engine starts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from raybench.core.config_file import parse
from raybench.core.errors import CheckpointError, ConfigError
from raybench.driver.models import architectures, carries_template, open_models
from raybench.driver.plan import PlannedModel


def models(*entries: Any, **changes: Any) -> list[PlannedModel]:
    return open_models(parse({"name": "a", "models": list(entries), "tasks": ["t"], "engine": {"kind": "pytorch"}, **changes}))


def test_a_folder_is_named_by_its_files_and_found_by_its_path(tiny_llama: Path) -> None:
    (found,) = models(str(tiny_llama))

    assert found.checkpoint.path == str(tiny_llama.resolve())
    assert len(found.checkpoint.identity) == 32
    assert found.name == tiny_llama.name
    assert architectures(found.checkpoint) == ("LlamaForCausalLM",)
    assert carries_template(found.checkpoint) is True


def test_a_glob_is_expanded_in_natural_order(tiny_llama: Path, tmp_path: Path) -> None:
    for step in (2, 10, 1):
        shutil.copytree(tiny_llama, tmp_path / f"checkpoint-{step}")

    found = models(str(tmp_path / "checkpoint-*"))

    assert [m.name for m in found] == ["checkpoint-1", "checkpoint-2", "checkpoint-10"]
    assert len({m.checkpoint.identity for m in found}) == 1


def test_a_glob_that_fits_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no folder fits the pattern"):
        models(str(tmp_path / "checkpoint-*"))


def test_a_list_of_revisions_is_as_many_models() -> None:
    found = models({"checkpoint": "org/name", "revisions": ["step1", "step2"]}, engine={"kind": "fake"})

    assert [(m.name, m.checkpoint.uri, m.checkpoint.revision) for m in found] == [
        ("name@step1", "org/name", "step1"),
        ("name@step2", "org/name", "step2"),
    ]
    assert len({m.checkpoint.identity for m in found}) == 2


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"checkpoint": "org/name@a", "revisions": ["b"]}, "give the revision in the name or under `revisions`, not both"),
        ({"checkpoint": "org/name", "name": "x", "revisions": ["a", "b"]}, "several revisions cannot share a name"),
        ({"checkpoint": "org/name@"}, "expected hub-id@revision"),
        ({"checkpoint": "m", "system_prompt": "be kind"}, "a system_prompt needs a chat template"),
        ({"checkpoint": "m", "chat_template_kwargs": {"enable_thinking": False}}, "chat_template_kwargs need a chat template"),
        ({"checkpoint": "m", "chat_template": "none.jinja"}, "expected none, auto or a readable Jinja file"),
    ],
)
def test_contradictions_are_refused(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        models(entry, engine={"kind": "fake"})


def test_several_folders_of_a_glob_cannot_share_a_name(tiny_llama: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(tiny_llama, tmp_path / name)

    with pytest.raises(ConfigError, match="2 checkpoints cannot share a name"):
        models({"checkpoint": str(tmp_path / "*"), "name": "x"})


def test_the_text_of_a_template_file_is_what_counts(tmp_path: Path) -> None:
    (tmp_path / "chat.jinja").write_text("{{ messages }}")

    (found,) = models({"checkpoint": "m", "chat_template": str(tmp_path / "chat.jinja"), "system_prompt": "s"}, engine={"kind": "fake"})

    assert (found.checkpoint.chat_template, found.checkpoint.system_prompt) == ("{{ messages }}", "s")


def broken(tiny_llama: Path, folder: Path, what: str) -> Path:
    """A copy of a checkpoint with one thing wrong."""
    shutil.copytree(tiny_llama, folder)
    match what:
        case "no model_type":
            config = json.loads((folder / "config.json").read_text())
            del config["model_type"]
            (folder / "config.json").write_text(json.dumps(config))
        case "no config.json":
            (folder / "config.json").unlink()
        case "config.json is no JSON":
            (folder / "config.json").write_text("{")
        case "truncated":
            data = (folder / "model.safetensors").read_bytes()
            (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
        case "no weights":
            (folder / "model.safetensors").unlink()
        case "a pointer":
            (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
        case "pickled":
            (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        case "its own code":
            (folder / "modeling_own.py").write_text("import os\n")
    return folder


BROKEN = {
    "no model_type": "config.json: no 'model_type'",
    "no config.json": "config.json is missing",
    "config.json is no JSON": "config.json: no JSON",
    "truncated": "model.safetensors: truncated",
    "no weights": "no weights. Expected",
    "a pointer": "a Git-LFS pointer",
    "pickled": "the weights are pickled",
    "its own code": "brings its own Python code",
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_folder_is_refused_with_its_place_and_what_to_do(what: str, tiny_llama: Path, tmp_path: Path) -> None:
    folder = broken(tiny_llama, tmp_path / "model", what)

    with pytest.raises(CheckpointError) as caught:
        models(str(folder))

    assert str(folder) in caught.value.message
    assert BROKEN[what] in caught.value.message


@pytest.mark.parametrize("content", [b"", b"GGUF", b"\0" * 1000, b"GGUF\3\0\0\0" + b"\1" * 500], ids=["empty", "magic", "zeros", "cut"])
def test_a_damaged_gguf_file_is_refused_before_an_engine_starts(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(content)

    with pytest.raises(CheckpointError, match=rf"model\.gguf: no whole GGUF file \({len(content)} bytes\)"):
        models(str(tmp_path / "model.gguf"))


def test_one_broken_model_stops_the_run_and_among_several_it_keeps_a_failed_row(tiny_llama: Path, tmp_path: Path) -> None:
    folder = str(broken(tiny_llama, tmp_path / "model", "truncated"))

    found = models(str(tiny_llama), folder)

    assert [m.failed is None for m in found] == [True, False]
    assert "truncated" in (found[1].failed or "")
    with pytest.raises(CheckpointError, match="truncated"):
        models(folder)
    with pytest.raises(CheckpointError, match="truncated"):
        models(str(tiny_llama), folder, on_broken_checkpoint="fail")


def test_a_run_of_nothing_but_broken_models_is_refused_with_every_reason(tiny_llama: Path, tmp_path: Path) -> None:
    one, other = (str(broken(tiny_llama, tmp_path / w.replace(" ", "-"), w)) for w in ("truncated", "no weights"))

    with pytest.raises(CheckpointError, match=r"(?s)no checkpoint can be loaded:.*truncated.*no weights"):
        models(one, other)


@pytest.mark.parametrize("uri", ["./nowhere", "/nowhere", "no/such/place", "what is this"])
def test_a_place_that_is_none_says_where_it_looked(uri: str) -> None:
    with pytest.raises(CheckpointError, match=r"no such file or folder \(looked in .*\)\. A hub id is written org/name"):
        models(uri)


def test_a_hub_id_without_a_network_says_what_to_do() -> None:
    with pytest.raises(CheckpointError, match=r"org/name@main: no such folder here, and the hub gives no answer") as caught:
        models("org/name")

    assert "for a local folder write ./name" in caught.value.message


def test_an_empty_checkpoint_is_for_the_fake_engine_alone() -> None:
    (found,) = models({"checkpoint": ""}, engine={"kind": "fake"})
    assert found.name == "model"

    with pytest.raises(CheckpointError, match="an empty checkpoint is only for the fake engine"):
        models({"checkpoint": ""})


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(CheckpointError, match="the Python package 'no_such_package' is not installed"):
        models("package://no_such_package/model.gguf")
