from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path

import pytest

from raybench.core.cache import cache_folder
from raybench.core.errors import DataError
from raybench.store.digests import data_identity, file_digest, file_digests


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYBENCH_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "digests.json"


def test_a_file_has_the_sha256_of_its_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")

    # FIPS 180-2, appendix B.1
    assert file_digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_an_unchanged_file_is_not_read_again(tmp_path: Path, own_cache: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    file_digest(tmp_path / "a")
    known = json.loads(own_cache.read_text())
    known[str(tmp_path / "a")][-1] = "from the cache"
    own_cache.write_text(json.dumps(known))

    assert file_digest(tmp_path / "a") == "from the cache"


def test_a_change_that_keeps_size_and_modification_time_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    before, status = file_digest(path), path.stat()

    path.write_bytes(b"abd")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert file_digest(path) == hashlib.sha256(b"abd").hexdigest() != before


@pytest.mark.parametrize("content", ["", "{", "[]", '{"PATH": 1}', '{"PATH": [1, 2]}', "\x00"])
def test_a_broken_cache_is_ignored_and_mended(tmp_path: Path, own_cache: Path, content: str) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    own_cache.parent.mkdir()
    own_cache.write_text(content.replace("PATH", str(tmp_path / "a")))

    assert file_digest(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    assert str(tmp_path / "a") in json.loads(own_cache.read_text())


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    monkeypatch.setenv("RAYBENCH_CACHE_DIR", str(tmp_path / "a"))

    assert file_digest(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def test_processes_that_write_the_cache_at_once_never_break_it(tmp_path: Path, own_cache: Path) -> None:
    paths = [tmp_path / str(i) for i in range(24)]
    for path in paths:
        path.write_text(path.name)

    threads = [threading.Thread(target=file_digests, args=(paths[i::6],)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(json.loads(own_cache.read_text())) <= {str(path) for path in paths}
    assert file_digests(paths) == {path: hashlib.sha256(path.name.encode()).hexdigest() for path in paths}


def test_without_a_setting_the_cache_lies_in_the_home_folder() -> None:
    assert cache_folder({}) == Path.home() / ".cache" / "raybench"
    assert cache_folder({"RAYBENCH_CACHE_DIR": "~/x"}) == Path.home() / "x"


def test_data_has_the_same_identity_wherever_it_lies(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "test.jsonl").write_text("{}")
        (tmp_path / folder / "dev.jsonl").write_text("[]")
    one = data_identity([tmp_path / "one" / "test.jsonl", tmp_path / "one" / "dev.jsonl"])

    assert data_identity([tmp_path / "two" / "dev.jsonl", tmp_path / "two" / "test.jsonl"]) == one
    (tmp_path / "two" / "dev.jsonl").write_text("{}")
    assert data_identity([tmp_path / "two" / "dev.jsonl", tmp_path / "two" / "test.jsonl"]) != one


def test_a_missing_data_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jsonl: the data file cannot be read: No such file"):
        data_identity([tmp_path / "gone.jsonl"])
