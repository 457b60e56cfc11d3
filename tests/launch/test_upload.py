"""What travels to a cluster, and what never does."""

from __future__ import annotations

from pathlib import Path

import pytest

from raybench.core.errors import ConfigError
from raybench.launch.upload import CONFIG_NAME, split_environment, stage


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A user's folder, as they are."""
    folder = tmp_path / "mine"
    for name in (
        "tasks/mine.py", "data/rows.jsonl", ".env", ".git/config", ".ssh/id_rsa", "runs/old/results.json", "tasks/__pycache__/mine.pyc",
        "server.pem", "auth_token", "notes.txt", "data/big.bin",
    ):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "data/big.bin").write_bytes(bytes(5000))
    (folder / "link").symlink_to("/etc/passwd")
    return folder


def staged(target: Path) -> list[str]:
    return sorted(p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file())


def test_only_the_configuration_travels_unless_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "up").mkdir()

    upload = stage(tmp_path / "up", "name: x\n")

    assert staged(tmp_path / "up") == [CONFIG_NAME]
    assert upload.files == ((CONFIG_NAME, 8),)


def test_results_hidden_files_keys_and_links_stay_here(source: Path, tmp_path: Path) -> None:
    (tmp_path / "up").mkdir()

    upload = stage(tmp_path / "up", "name: x\n", source=source)

    assert staged(tmp_path / "up") == ["data/big.bin", "data/rows.jsonl", "notes.txt", CONFIG_NAME, "tasks/mine.py"]
    assert sorted(name for name, _ in upload.files) == staged(tmp_path / "up")  # what is listed is what travels
    assert upload.describe().startswith("5 files, 5.0 kB: data/big.bin (5.0 kB), ")


@pytest.mark.parametrize("pattern", ["*.bin", "data/big.bin", "data/*.bin"])
def test_more_can_stay_here_by_name_or_path(pattern: str, source: Path, tmp_path: Path) -> None:
    (tmp_path / "up").mkdir()

    stage(tmp_path / "up", "name: x\n", source=source, excludes=[pattern])

    assert "data/big.bin" not in staged(tmp_path / "up")
    assert "data/rows.jsonl" in staged(tmp_path / "up")


def test_a_folder_that_is_too_large_is_refused_before_anything_is_copied(source: Path, tmp_path: Path) -> None:
    (tmp_path / "up").mkdir()

    with pytest.raises(ConfigError, match=r"4 files of 5.0 kB; at most 1.0 kB are uploaded. Largest: data/big.bin \(5.0 kB\)"):
        stage(tmp_path / "up", "name: x\n", source=source, max_bytes=1000)
    assert staged(tmp_path / "up") == []


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no folder"):
        stage(tmp_path, "name: x\n", source=tmp_path / "nothing")


def test_variables_are_names_to_be_checked_or_plain_values() -> None:
    assert split_environment(["HF_TOKEN", "HF_HUB_OFFLINE=1", "EMPTY=", "URL=a=b"]) == (
        ["HF_TOKEN"],
        {"HF_HUB_OFFLINE": "1", "EMPTY": "", "URL": "a=b"},
    )


@pytest.mark.parametrize("name", ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "DB_PASSWORD", "my_credentials", "KEY"])
def test_the_value_of_a_secret_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}=...: looks like a secret") as caught:
        split_environment([f"{name}=hunter2"])
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("name", ["KEYBOARD", "MONKEY", "HF_HOME"])
def test_an_innocent_name_is_no_secret(name: str) -> None:
    assert split_environment([f"{name}=x"]) == ([], {name: "x"})


def test_what_is_no_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="no name of an environment variable"):
        split_environment(["a b=c"])
