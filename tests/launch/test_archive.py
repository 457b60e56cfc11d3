"""A run directory through a log: it arrives whole or not at all."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from raybench.core.errors import IncompleteError, RunError
from raybench.launch import archive
from raybench.launch.archive import pack, unpack, write


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Something that looks like a run directory."""
    folder = tmp_path / "run"
    for name in (
        "manifest.json",
        "results.json",
        "predictions/t/m/a.parquet",
        "scores/s.parquet",
        "lock",
        "predictions/t/m/.tmp-1-b.parquet",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 50)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def as_text(data: bytes, *, before: str = "", after: str = "") -> str:
    stream = io.StringIO()
    write(data, stream)
    return before + stream.getvalue() + after


def test_everything_published_arrives_as_it_was(run: Path, tmp_path: Path) -> None:
    count = unpack(as_text(pack(run), before="a line of the cluster\n", after="another\n"), tmp_path / "back")

    assert names(tmp_path / "back") == ["manifest.json", "predictions/t/m/a.parquet", "results.json", "scores/s.parquet"]
    assert count == 4
    assert all((tmp_path / "back" / name).read_bytes() == (run / name).read_bytes() for name in names(tmp_path / "back"))


def test_results_can_come_alone(run: Path, tmp_path: Path) -> None:
    unpack(as_text(pack(run, only_results=True)), tmp_path / "back")

    assert names(tmp_path / "back") == ["manifest.json", "results.json", "scores/s.parquet"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "no archive in the job's log"),
        (lambda text: text[: len(text) // 2], "is cut"),
        (lambda text: "".join(text.splitlines(keepends=True)[:2] + text.splitlines(keepends=True)[3:]), "is damaged"),
        (lambda text: text.replace("\n", "\n!", 3), "is damaged|is cut"),
    ],
    ids=["nothing", "half", "a line less", "noise"],
)
def test_what_is_cut_or_damaged_leaves_nothing(change: object, message: str, run: Path, tmp_path: Path) -> None:
    assert callable(change)

    with pytest.raises(IncompleteError, match=message):
        unpack(change(as_text(pack(run))), tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside"])
def test_a_member_that_leads_outside_does_not(name: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo(name)
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))

    if name.startswith("/"):  # tar's data filter makes it relative
        unpack(as_text(buffer.getvalue()), tmp_path / "back")
        assert names(tmp_path / "back") == ["tmp/outside"]
    else:
        with pytest.raises(RunError, match="what no run directory has"):
            unpack(as_text(buffer.getvalue()), tmp_path / "back")
        assert not (tmp_path / "outside").exists()


def test_a_link_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)

    with pytest.raises(RunError, match="what no run directory has"):
        unpack(as_text(buffer.getvalue()), tmp_path / "back")


def test_files_that_are_there_are_not_overwritten(run: Path, tmp_path: Path) -> None:
    text = as_text(pack(run))
    unpack(text, tmp_path / "back")

    with pytest.raises(RunError, match="is not empty"):
        unpack(text, tmp_path / "back")


def test_what_is_no_run_or_too_large_is_not_packed(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="no run directory on this machine"):
        pack(tmp_path)
    monkeypatch.setattr(archive, "MAX_BYTES", 10)
    with pytest.raises(RunError, match="--only results"):
        pack(run)


def test_the_command_of_the_cluster_writes_what_unpack_reads(run: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "raybench.launch.archive", str(run), "--only-results"], capture_output=True, text=True, check=True
    )

    assert unpack(done.stdout, tmp_path / "back") == 3
