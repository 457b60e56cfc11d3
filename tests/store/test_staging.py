from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from raybench.core.errors import CheckpointError, EngineError
from raybench.store import staging
from raybench.store.checkpoint_files import checkpoint_identity
from raybench.store.objects import Objects
from raybench.store.staging import stage

FILES = {"config.json": b"{}", "model.safetensors": b"weights", "sub/tokenizer.json": b"[]"}
LEFT = {"optimizer.pt": b"large", "README.md": b"paper", "checkpoint-5/model.safetensors": b"older", "runs/events": b""}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has brought nothing yet."""
    monkeypatch.setenv("RAYBENCH_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "checkpoints"


@pytest.fixture
def uri(bucket: str) -> str:
    """A checkpoint there, with what a training leaves beside it."""
    objects = Objects(f"{bucket}/models/tiny")
    for name, data in {**FILES, **LEFT}.items():
        objects.put(name, data)
    return objects.uri


def test_the_files_of_a_checkpoint_are_here_and_its_digest_is_that_of_a_folder(uri: str, tmp_path: Path) -> None:
    folder = tmp_path / "by hand"
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)

    path, digest = stage(uri)

    assert {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()} == FILES
    assert digest == checkpoint_identity(folder)
    assert stage(uri, expected=digest) == (path, digest)


def test_however_many_ask_at_once_it_is_brought_once(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    brought: list[int] = []
    get = Objects.get
    monkeypatch.setattr(Objects, "get", lambda self, files: (brought.append(len(files)), get(self, files)))
    other = [
        subprocess.Popen(
            [sys.executable, "-c", "import sys; from raybench.store.staging import stage; print(stage(sys.argv[1])[0].stat().st_ino)", uri],
            stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip

    with ThreadPoolExecutor(4) as threads:
        inodes = {path.stat().st_ino for path, _ in threads.map(lambda _: stage(uri), range(4))}

    inodes |= {int(process.communicate(timeout=60)[0]) for process in other}
    assert len(inodes) == 1
    assert brought in ([], [3])  # unless one of the other processes was first


def test_a_checkpoint_that_is_overwritten_during_a_run_is_refused(uri: str) -> None:
    _, before = stage(uri)
    Objects(uri).put("model.safetensors", b"WEIGHTS")

    with pytest.raises(CheckpointError, match=rf"its files have the digest .*, where the driver runs {before}: it was overwritten"):
        stage(uri, expected=before)

    assert stage(uri)[1] != before


def test_files_that_were_damaged_here_are_brought_again(uri: str) -> None:
    path, before = stage(uri)
    (path / "model.safetensors").write_bytes(b"flipped")

    with pytest.raises(CheckpointError, match="or damaged on the way"):
        stage(uri, expected=before)

    assert (stage(uri, expected=before)[0] / "model.safetensors").read_bytes() == b"weights"


def test_what_a_killed_process_left_is_in_nobody_s_way(uri: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(self: Objects, files: dict[str, Path]) -> None:
        (first := next(iter(files.values()))).parent.mkdir(parents=True)
        first.write_bytes(b"half")
        raise KeyboardInterrupt

    whole = Objects.get
    monkeypatch.setattr(Objects, "get", killed)
    with pytest.raises(KeyboardInterrupt):
        stage(uri)

    monkeypatch.setattr(Objects, "get", whole)

    assert (stage(uri)[0] / "model.safetensors").read_bytes() == b"weights"
    assert [p for p in cache.iterdir() if p.name.startswith(".tmp-")] == []


def test_a_machine_without_room_says_so_with_its_name_and_both_numbers(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "free_bytes", lambda path: 10)
    monkeypatch.setattr(staging.platform, "node", lambda: "node-7")

    with pytest.raises(EngineError, match=r"node node-7: checkpoint .* needs 11 bytes in .*, 10 are free there\..*RAYBENCH_CACHE_DIR"):
        stage(uri)


def test_a_single_file_is_brought_alone(bucket: str) -> None:
    objects = Objects(f"{bucket}/models")
    objects.put("tiny.gguf", b"GGUF")
    objects.put("other.gguf", b"GGUF other")

    path, _ = stage(f"{bucket}/models/tiny.gguf")

    assert path.name == "tiny.gguf"
    assert [p.name for p in path.parent.iterdir()] == ["tiny.gguf"]


@pytest.mark.parametrize("there", [{}, {"README.md": b""}])
def test_a_folder_without_a_checkpoint_is_refused(bucket: str, there: dict[str, Any]) -> None:
    for name, data in there.items():
        Objects(f"{bucket}/empty").put(name, data)

    with pytest.raises(CheckpointError, match=f"found none of them among {len(there)} objects"):
        stage(f"{bucket}/empty")
