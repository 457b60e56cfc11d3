"""Where rows lie: folders, files, packages, the hub and the `data:` map."""

from __future__ import annotations

import sys

import pytest

from raybench.core.errors import ConfigError, DataError
from raybench.core.task_config import DataConfig
from raybench.tasks.locate import resolve
from raybench.tasks.task import Source

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB = Source(path="org/name", config="small", split="test", revision=COMMIT)


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}\n")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["test.jsonl", "train.jsonl"], ["test.jsonl"]),
        (["test.csv"], ["test.csv"]),
        (["test.tsv.gz"], ["test.tsv.gz"]),
        (["test-00001-of-00002.parquet", "test-00000-of-00002.parquet"], ["test-00000-of-00002.parquet", "test-00001-of-00002.parquet"]),
        (["small/test-00000-of-00001.parquet", "other/test.parquet"], ["small/test-00000-of-00001.parquet"]),  # as a hub repository has it
        (["data/test.parquet"], ["data/test.parquet"]),
        (["test_extra.jsonl", "test.jsonl"], ["test.jsonl"]),
    ],
)
def test_a_folder_is_searched_for_the_split(tmp_path, names, found):
    touch(tmp_path, *names)
    located = resolve(HUB, {"org/name:small": DataConfig(path=str(tmp_path))})
    assert [str(f.relative_to(tmp_path)) for f in located.files] == found


def test_the_entry_with_a_configuration_wins_over_the_one_without(tmp_path):
    touch(tmp_path, "a/test.jsonl", "b/test.jsonl")
    data = {"org/name": DataConfig(path=str(tmp_path / "a")), "org/name:small": DataConfig(path=str(tmp_path / "b"))}
    assert resolve(HUB, data).files == (tmp_path / "b" / "test.jsonl",)


def test_splits_name_the_files(tmp_path):
    touch(tmp_path, "x/first.jsonl")
    data = {"org/name": DataConfig(path=str(tmp_path), splits={"test": "x/first.jsonl"})}
    assert resolve(HUB, data).files == (tmp_path / "x" / "first.jsonl",)


def test_a_split_that_is_not_named_is_found_by_its_own_name(tmp_path):
    touch(tmp_path, "test.jsonl", "questions.jsonl")
    data = {"org/name": DataConfig(path=str(tmp_path), splits={"train": "questions.jsonl"})}
    assert resolve(HUB, data).files == (tmp_path / "test.jsonl",)


def test_a_hub_id_can_be_sent_to_another_pinned_one():
    located = resolve(HUB, {"org/name": DataConfig(path="mirror/name", revision=COMMIT)})
    assert (located.hub, located.config, located.split, located.revision) == ("mirror/name", "small", "test", COMMIT)


def test_a_filter_of_the_task_is_applied_to_the_columns_as_they_are_in_the_file(tmp_path):
    touch(tmp_path, "test.jsonl")
    source = Source(path="org/name", where={"subject": "law"})
    located = resolve(source, {"org/name": DataConfig(path=str(tmp_path), rename={"category": "subject"}, where={"year": 2020})})
    assert located.where == (("year", 2020), ("category", "law"))
    assert located.rename == (("category", "subject"),)


def test_a_file_of_a_package_is_found_without_importing_the_package(tmp_path, monkeypatch):
    package = tmp_path / "exploding_package"
    touch(package, "inner/test.jsonl")
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "inner" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)

    located = resolve(Source(path="package://exploding_package.inner/test.jsonl"), {})

    assert located.files == (package / "inner" / "test.jsonl",)
    assert "exploding_package" not in sys.modules


@pytest.mark.parametrize(
    ("source", "data", "message"),
    [
        (Source(path="org/name"), {}, r"'org/name': no revision.*data: \{\"org/name\": \{path: /folder"),
        (Source(path="org/name", revision="main"), {}, "revision 'main'; expected a commit"),
        (Source(path="./missing.jsonl"), {}, "missing.jsonl: no such file"),
        (Source(path="{tmp}/tset.jsonl"), {}, "no such file. Did you mean 'test.jsonl'"),
        (
            Source(path="{tmp}", split="tesst"),
            {},
            r"no file for split 'tesst'. Did you mean .*'test.jsonl'\?.*The folder has: notes.txt, test.jsonl",
        ),
        (Source(path="{tmp}/notes.txt"), {}, "unknown format. Expected .jsonl"),
        (
            Source(path="{tmp}", split="dev", splits={"test": "test.jsonl"}),
            {},
            "no file for split 'dev'.*`splits` names test.*The folder has: notes.txt, test.jsonl",
        ),
        (
            Source(path="org/name", split="train"),
            {"org/name": DataConfig(path="{tmp}/test.jsonl")},
            "single file .*test.jsonl, and split 'train' is wanted",
        ),
        (Source(path="package://no_such_package/test.jsonl"), {}, "there is no such package"),
        (Source(path="package://raybench.tasks/data/nothing.jsonl"), {}, "the package has no file tasks/data/nothing.jsonl"),
    ],
)
def test_what_cannot_be_found_is_explained(tmp_path, source, data, message):
    touch(tmp_path, "test.jsonl", "notes.txt")
    here = str(tmp_path)
    source = Source(**{**{n: getattr(source, n) for n in Source.__slots__}, "path": source.path.replace("{tmp}", here)})
    data = {key: DataConfig(path=entry.path.replace("{tmp}", here)) for key, entry in data.items()}
    with pytest.raises(DataError, match=f"(?s){message}"):
        resolve(source, data)


def test_two_files_for_one_split_are_refused(tmp_path):
    touch(tmp_path, "test.jsonl", "test.parquet")
    with pytest.raises(DataError, match=r"several files for split 'test': test.jsonl, test.parquet"):
        resolve(Source(path=str(tmp_path)), {})


def test_a_package_path_cannot_leave_the_package():
    with pytest.raises(ConfigError, match="inside the package"):
        resolve(Source(path="package://raybench/../../secret.jsonl"), {})
