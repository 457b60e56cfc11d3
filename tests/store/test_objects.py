from __future__ import annotations

from pathlib import Path

import pytest

from raybench.core.errors import ConfigError, StorageError
from raybench.store.objects import Objects


def test_the_server_of_the_tests_and_ours_make_an_object_once_only(bucket: str) -> None:
    objects = Objects(f"{bucket}/run")

    assert objects.create("a/b", b"first")
    assert not objects.create("a/b", b"second")

    assert objects.read("a/b") == b"first"


def test_names_are_those_below_the_folder_alone(bucket: str, tmp_path: Path) -> None:
    objects = Objects(f"{bucket}/runs/one")
    (tmp_path / "file").write_bytes(b"of a file")
    objects.put("manifest.json", b"{}")
    objects.put("predictions/t/m/1", tmp_path / "file")
    Objects(f"{bucket}/runs/one.old-1").put("manifest.json", b"{}")

    assert objects.names() == ["manifest.json", "predictions/t/m/1"]
    assert objects.entries() == ["manifest.json", "predictions/"]
    assert objects.names("predictions") == ["predictions/t/m/1"]
    assert Objects(f"{bucket}/nothing").names() == Objects(f"{bucket}/nothing").entries() == []


def test_many_objects_are_brought_and_deleted_at_once(bucket: str, tmp_path: Path) -> None:
    objects = Objects(f"{bucket}/run")
    for name in ("a/1", "a/2", "b"):
        objects.put(name, name.encode())

    objects.get({"a/1": tmp_path / "x" / "1", "b": tmp_path / "x" / "2"})
    objects.delete(["a/1", "b"])
    objects.delete(["a/1"])

    assert [path.read_text() for path in sorted((tmp_path / "x").iterdir())] == ["a/1", "b"]
    assert objects.names() == ["a/2"]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("ftp://host/run", "expected s3://bucket/folder or gs://bucket/folder"),
        ("s3://bucket", "expected a bucket and a folder in it"),
        ("s3:///run", "expected a bucket and a folder in it"),
        ("s3://key:hunter2@bucket/run", "no credentials in a URI"),
    ],
)
def test_a_uri_that_is_none_of_ours_is_refused_without_repeating_a_password(uri: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Objects(uri)

    assert "hunter2" not in str(caught.value)


def test_a_store_that_refuses_is_a_storage_error(bucket: str) -> None:
    with pytest.raises(
        StorageError, match=r"s3://no-such-bucket/run: x cannot be created: .*The same command|s3://no-such-bucket/run: x cannot be created"
    ) as caught:
        Objects("s3://no-such-bucket/run").create("x", b"")

    assert caught.value.exit_code == 3
