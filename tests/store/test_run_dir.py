from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from raybench.core.errors import RunError
from raybench.store.run_dir import RunDir


def test_a_run_is_created_locked_and_opened_again(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "runs" / "a b")
    run.create()
    with run.lock(started=0.0):
        assert run.write_manifest({"name": "a"})
    run.create()

    assert RunDir.open(run.path).manifest() == {"name": "a"}


def test_a_handle_touches_nothing(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")

    assert (run.pairs(), run.documents.state(), list(run.events()), run.telemetry().num_rows, run.stale()) == ([], {}, [], 0, [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "link", "dangling link", "full folder", "folder in a file"])
def test_what_is_in_the_way_is_named_and_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "run"
    if kind == "file":
        path.write_text("x")
    elif kind == "link":
        (tmp_path / "target").mkdir()
        path.symlink_to(tmp_path / "target")
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "gone")
    elif kind == "full folder":
        path.mkdir()
        (path / "thesis.tex").write_text("x")
    else:
        (tmp_path / "file").write_text("x")
        path = tmp_path / "file" / "run"
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(RunError, match="--output") as caught:
        RunDir(path).create()

    assert caught.value.exit_code == 2
    assert sorted(tmp_path.rglob("*")) == before


READ_ONLY = """
import os, sys, tempfile
from pathlib import Path
from raybench.core.errors import RunError
from raybench.store.run_dir import RunDir

with tempfile.TemporaryDirectory() as name:
    folder = Path(name, "parent")
    folder.mkdir()
    os.chmod(name, 0o755)
    os.chmod(folder, {"read-only": 0o555, "closed": 0o000}[sys.argv[1]])
    pid = os.fork()
    if pid == 0:
        if os.geteuid() == 0:
            os.setuid(65534)  # root may write everywhere
        try:
            RunDir(folder / "runs" / "a").create()
        except RunError as error:
            print(error.message, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
    os.chmod(folder, 0o755)
    print(os.listdir(folder))
"""


@pytest.mark.parametrize(("kind", "message"), [("read-only", "is not a folder that you may write to"), ("closed", "Permission denied")])
def test_a_parent_that_may_not_be_written_to_is_refused_before_anything_is_made(kind: str, message: str) -> None:
    done = subprocess.run([sys.executable, "-c", READ_ONLY, kind], capture_output=True, text=True, check=True)

    refusal, left = done.stdout.splitlines()
    assert message in refusal
    assert "--output" in refusal
    assert left == "[]"


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda path: None, "there is no such folder"),
        (lambda path: path.mkdir(), "there is no manifest.json"),
        (lambda path: path.write_text("x"), "it is a file"),
    ],
)
def test_opening_what_is_no_run_says_what_is_there(tmp_path: Path, make: Callable[[Path], None], found: str) -> None:
    make(tmp_path / "run")

    with pytest.raises(RunError) as caught:
        RunDir.open(tmp_path / "run")

    assert caught.value.message.endswith(f"run: this is no run directory: {found}. Expected the folder that `raybench run` wrote.")


def test_pairs_of_task_and_model_are_found_single_and_compacted(run: RunDir, commit_shards: Callable[..., list[str]]) -> None:
    for task, model in (("b", "m.1"), ("a", "m.1"), ("a", "n")):
        names = commit_shards(run, task, model, num_shards=1)
    run.compact("a", "m.1", names)

    assert run.pairs() == [("a", "m.1"), ("a", "n"), ("b", "m.1")]


def test_prompts_that_were_not_written_are_none(run: RunDir) -> None:
    assert run.prompts("arc") is None


def test_what_killed_writers_left_behind_is_listed_once_each(run: RunDir) -> None:
    (run.path / "prompts" / ".tmp-1-arc").mkdir(parents=True)
    (run.path / "prompts" / ".tmp-1-arc" / ".tmp-2-x").write_text("")
    (run.path / ".tmp-3-state.json").write_text("")

    assert [path.name for path in run.stale()] == [".tmp-3-state.json", ".tmp-1-arc"]
