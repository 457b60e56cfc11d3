from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from raybench.core.errors import StorageError
from raybench.store.disk import require_space
from raybench.store.files import free_bytes, make_folder, publish_exclusive, replace, staged, storage_errors


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_the_first_of_two_writers_wins_and_the_second_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.json"

    assert publish_exclusive(path, b"first")
    assert not publish_exclusive(path, b"second")

    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["a.json"]


def test_of_racing_writers_exactly_one_wins_with_its_own_content(tmp_path: Path) -> None:
    path, barrier = tmp_path / "a", threading.Barrier(8)
    wins: list[int] = []

    def write(number: int) -> None:
        barrier.wait()
        if publish_exclusive(path, bytes([number]) * 10_000):
            wins.append(number)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(wins) == 1
    assert path.read_bytes() == bytes(wins) * 10_000
    assert names(tmp_path) == ["a"]


def test_publishing_stays_exclusive_where_the_file_system_has_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)

    assert publish_exclusive(tmp_path / "a", b"first")
    assert not publish_exclusive(tmp_path / "a", b"second")

    assert (tmp_path / "a").read_bytes() == b"first"
    assert names(tmp_path) == ["a"]


def test_replace_puts_new_content_in_place(tmp_path: Path) -> None:
    replace(tmp_path / "a", b"old")
    replace(tmp_path / "a", b"new")

    assert (tmp_path / "a").read_bytes() == b"new"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize(("exclusive", "expected"), [(True, b"old"), (False, b"new")])
def test_a_staged_file_respects_or_replaces_what_is_there(tmp_path: Path, exclusive: bool, expected: bytes) -> None:
    (tmp_path / "a").write_bytes(b"old")

    with staged(tmp_path / "a", exclusive=exclusive) as temp:
        temp.write_bytes(b"new")

    assert (tmp_path / "a").read_bytes() == expected
    assert names(tmp_path) == ["a"]


def test_an_error_while_staging_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")

    with pytest.raises(ZeroDivisionError), staged(tmp_path / "a", exclusive=False) as temp:  # noqa: PT012
        temp.write_bytes(b"new")
        raise ZeroDivisionError

    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EIO"])
def test_a_refusing_disk_is_a_storage_error_with_file_needed_and_free_bytes(tmp_path: Path, code: str) -> None:
    with pytest.raises(StorageError) as caught, storage_errors(tmp_path / "shard", 1_234_567):
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    assert str(tmp_path / "shard") in caught.value.message
    assert "1,234,567 bytes" in caught.value.message
    assert "bytes are free" in caught.value.message
    assert caught.value.exit_code == 3


def test_an_error_that_is_not_the_disks_passes_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), storage_errors(tmp_path):
        (tmp_path / "missing").read_bytes()


def test_a_really_full_device_is_a_storage_error() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")

    with pytest.raises(StorageError, match="no space is left"), storage_errors(Path("/dev/full")), open("/dev/full", "wb", 0) as file:
        file.write(b"x")


LIMITED = """
import resource, signal, sys
from pathlib import Path
import pyarrow as pa
from raybench.core.errors import StorageError
from raybench.store.files import publish_exclusive, replace
from raybench.store.scores import ScoreWriter
from raybench.store.prompt_files import PromptWriter
from raybench.store.telemetry import TelemetryWriter
from raybench.store.events import EventLog
from raybench.core import schema
import os
folder = Path(sys.argv[1])
replace(folder / "state.json", b"old")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
noise = os.urandom(30_000).hex()

def scores():
    with ScoreWriter(folder / "scores" / "t" / "m.parquet", pa.schema([("x", pa.string())])) as writer:
        writer.write(pa.record_batch([[noise]], names=["x"]))

def prompts():
    with PromptWriter(folder / "prompts" / "p") as writer:
        for k in range(3):
            samples = pa.record_batch([[f"s{k}"], [noise], [[]], [None], [[]], [None]], schema=schema.SAMPLES)
            requests = pa.record_batch([[f"s{k}"], [""], [[]], [noise], [[]], [False], [[]], [""], [None], [None], [None]], schema=schema.REQUESTS)
            writer.add(samples, requests, cost=1)
        writer.finish(pa.record_batch([[], []], schema=schema.SHOTS), {"key": "k"})

def telemetry():
    with TelemetryWriter(folder / "telemetry") as writer:
        writer.append({"model": noise, "task": "t", "fingerprint": "f", "attempt": 1})

def events():
    log = EventLog(folder / "events")
    for text in (noise, "short"):
        log.append("commit", time=0.0, text=text)

for attempt in (
    lambda: publish_exclusive(folder / "a", noise.encode()), lambda: replace(folder / "state.json", noise.encode()),
    scores, prompts, telemetry, events,
):
    try:
        attempt()
        print("written")
    except StorageError as error:
        assert "larger than the limit" in error.message, error.message
        print("refused")
print(sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()))
"""


def test_a_disk_that_ends_in_the_middle_of_any_file_leaves_nothing_half_written(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=False)

    assert done.stdout.splitlines() == ["refused"] * 6 + ["['events/000001.jsonl', 'state.json']"], done.stderr
    assert (tmp_path / "state.json").read_bytes() == b"old"


def test_free_bytes_of_a_path_that_does_not_exist_are_those_of_its_parent(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "a" / "b") > 0


def test_too_small_a_disk_is_refused_before_the_start(tmp_path: Path) -> None:
    require_space(tmp_path / "run", 1, "prompts")

    with pytest.raises(StorageError, match=r"run: prompts of 3 tasks need about 1,000,000,000,000,000,000 bytes"):
        require_space(tmp_path / "run", 10**18, "prompts of 3 tasks")


def test_folders_are_made_with_their_parents(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b" / "c")
    make_folder(tmp_path / "a" / "b" / "c")

    assert (tmp_path / "a" / "b" / "c").is_dir()
