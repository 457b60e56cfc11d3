"""Rows and their numbers, whatever the format; identities; Parquet files that must not be trusted."""

from __future__ import annotations

import datetime
import gzip
import hashlib
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raybench.core.errors import DataError
from raybench.core.task_config import DataConfig
from raybench.tasks import source as source_module
from raybench.tasks.source import Located, identity, resolve, rows
from raybench.tasks.task import Source

ROWS = [{"subject": "law" if i % 3 else "art", "text": f"text {i}", "n": i} for i in range(20)]


def write(folder, name, table_rows):
    file = folder / name
    if ".parquet" in name:
        pq.write_table(pa.Table.from_pylist(table_rows), file, row_group_size=7)
    elif ".csv" in name:
        text = "".join(",".join(map(str, values)) + "\n" for values in [table_rows[0].keys(), *(r.values() for r in table_rows)])
        file.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    else:
        text = "".join(json.dumps(r) + "\n" for r in table_rows)
        file.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return file


FILES = ["test.jsonl", "test.jsonl.gz", "test.csv", "test.csv.gz", "test.parquet"]


@pytest.mark.parametrize("name", FILES)
def test_a_filter_keeps_the_row_numbers_of_the_whole_file(tmp_path, name):
    write(tmp_path, name, ROWS)
    located = resolve(Source(path=str(tmp_path), where={"subject": "art"}), {})

    for _ in range(2):  # the second time from the cache
        found = list(rows(located))
        assert [number for number, _ in found] == [0, 3, 6, 9, 12, 15, 18]
        assert [row["text"] for _, row in found] == [f"text {i}" for i in range(0, 20, 3)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_values_of_a_filter_are_typed(tmp_path, name):
    file = write(tmp_path, name, ROWS)
    assert [row["text"] for _, row in rows(Located(files=(file,), where=(("n", 4),)))] == ["text 4"]


def test_values_of_a_filter_on_csv_are_compared_as_text(tmp_path):
    file = write(tmp_path, "a.csv", ROWS)
    assert [row["text"] for _, row in rows(Located(files=(file,), where=(("n", 4),)))] == ["text 4"]


@pytest.mark.parametrize("where", [(), (("subject", "art"),), (("n", 19),)])
def test_numbers_go_on_in_the_next_file(tmp_path, where):
    first, second = write(tmp_path, "a.jsonl", ROWS[:13]), write(tmp_path, "b.parquet", ROWS[13:])
    found = list(rows(Located(files=(first, second), where=where)))
    assert all(row["n"] == number for number, row in found)
    assert [n for n, _ in found] == [i for i, row in enumerate(ROWS) if all(row[c] == v for c, v in where)]


def test_columns_are_renamed_after_the_filter(tmp_path):
    write(tmp_path, "test.jsonl", ROWS)
    data = {"org/x": DataConfig(path=str(tmp_path), rename={"subject": "topic"})}
    found = list(rows(resolve(Source(path="org/x", where={"topic": "art"}), data)))
    assert found[0] == (0, {"topic": "art", "text": "text 0", "n": 0})


def test_a_changed_file_is_read_anew(tmp_path):
    located = Located(files=(write(tmp_path, "a.jsonl", ROWS),), where=(("subject", "art"),))
    before, name = list(rows(located)), identity(located)
    write(tmp_path, "a.jsonl", ROWS[:3])
    assert len(list(rows(located))) < len(before)
    assert identity(located) != name


def test_a_cached_row_cannot_be_spoilt_by_its_user(tmp_path):
    located = Located(files=(write(tmp_path, "a.jsonl", ROWS),), where=(("subject", "art"),))
    next(rows(located))[1]["text"] = "spoilt"
    assert next(rows(located))[1]["text"] == "text 0"


@pytest.mark.parametrize("name", FILES)
def test_no_row_is_an_error_that_names_the_filter(tmp_path, name):
    file = write(tmp_path, name, ROWS)
    with pytest.raises(DataError, match=r"0 rows in split 'test' after the filter \{'subject': 'music'\}"):
        list(rows(Located(files=(file,), where=(("subject", "music"),))))


def test_an_empty_file_is_an_error(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b"")
    with pytest.raises(DataError, match=r"x.jsonl: 0 rows in split 'test'. Expected at least one"):
        list(rows(Located(files=(tmp_path / "x.jsonl",))))


def test_the_identity_is_the_digest_of_the_file(tmp_path):
    file = write(tmp_path, "a.jsonl", ROWS)
    assert identity(Located(files=(file,))) == "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_filter_or_another_name_changes_the_identity(tmp_path):
    file = write(tmp_path, "a.jsonl", ROWS)
    variants = [{}, {"where": (("n", 1),)}, {"where": (("n", "1"),)}, {"rename": (("n", "m"),)}]
    assert len({identity(Located(files=(file,), **v)) for v in variants}) == 4


def test_the_identity_on_the_hub_is_its_commit():
    assert identity(Located(hub="org/x", config="main", split="dev", revision="a" * 40)) == f"hub:org/x@{'a' * 40}:main:dev"


def test_a_hub_data_set_that_cannot_be_loaded_shows_the_entry_to_write():
    located = resolve(Source(path="raybench-test/no-such", config="main", revision="a" * 40), {})
    with pytest.raises(DataError, match=r'(?s)cannot be loaded.*data: \{"raybench-test/no-such:main": \{path: /folder'):
        list(rows(located))


def test_dates_and_decimals_of_parquet_become_text(tmp_path):
    file = write(tmp_path, "a.parquet", [{"day": datetime.date(2026, 1, 2), "price": Decimal("1.50"), "n": None}])
    assert list(rows(Located(files=(file,)))) == [(0, {"day": "2026-01-02", "price": "1.50", "n": None})]


def test_binary_columns_are_refused(tmp_path):
    file = write(tmp_path, "a.parquet", [{"image": b"\x00"}])
    with pytest.raises(DataError, match="column 'image' has the type binary"):
        list(rows(Located(files=(file,))))


class Hostile(pa.ExtensionType):
    """Notes when it is asked to make something of the bytes in a file."""

    calls: list[bytes] = []  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__(pa.string(), "test.hostile")

    def __arrow_ext_serialize__(self) -> bytes:
        return b"payload"

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type, serialized):
        cls.calls.append(serialized)
        return cls()


@pytest.mark.parametrize("name", ["x", "xy", "xyz"])  # the marker's place in the base64 text depends on what stands before it
def test_an_extension_type_is_refused_before_its_code_runs(tmp_path, name):
    file = tmp_path / "a.parquet"
    kind = Hostile()
    pa.register_extension_type(kind)
    try:
        array = pa.ExtensionArray.from_storage(kind, pa.array(["a"]))
        pq.write_table(pa.table({name: array}), file)
        Hostile.calls.clear()

        with pytest.raises(DataError, match="extension type"):
            list(rows(Located(files=(file,))))

        assert Hostile.calls == []
        pq.ParquetFile(file).close()
        assert Hostile.calls, "opening the file without the check runs the code: otherwise this test shows nothing"
    finally:
        pa.unregister_extension_type("test.hostile")


@pytest.mark.parametrize("spoil", [lambda b: b[:-30], lambda b: b[:100], lambda b: b"", lambda b: b"PAR1" + b"\x00" * 50 + b"PAR1"])
def test_a_damaged_parquet_file_is_refused(tmp_path, spoil):
    file = write(tmp_path, "a.parquet", ROWS)
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(DataError, match=r"a.parquet: not a readable Parquet file after row 0"):
        list(rows(Located(files=(file,))))


def test_a_flipped_byte_in_a_page_is_found_by_its_checksum(tmp_path):
    file = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"text": [f"text {i} abcdefgh" for i in range(50)]}),
        file,
        compression="none",
        use_dictionary=False,
        write_page_checksum=True,
    )
    content = bytearray(file.read_bytes())
    content[content.index(b"text 25 abc") + 2] ^= 1  # in the data page; the first and the last text also stand in the header
    file.write_bytes(content)
    with pytest.raises(DataError, match="not a readable Parquet file"):
        list(rows(Located(files=(file,))))


def test_a_parquet_file_that_claims_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(source_module, "FREE_BYTES", 10**6)  # a billion rows would take long to write
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": pa.nulls(5_000_000)}), file)
    with pytest.raises(DataError, match="claims 5000000 rows"):
        list(rows(Located(files=(file,))))


def test_a_filter_by_an_unknown_column_names_the_columns(tmp_path):
    file = write(tmp_path, "a.parquet", ROWS)
    with pytest.raises(DataError, match=r"no column 'topic' to filter by. Columns: subject, text, n"):
        list(rows(Located(files=(file,), where=(("topic", "law"),))))
