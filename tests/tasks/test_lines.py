"""Text files: what is written comes back, and what is damaged is named by file, line and byte."""

from __future__ import annotations

import csv
import gzip
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.core.errors import DataError
from raybench.tasks import lines
from raybench.tasks.lines import read_text

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NASTY = 'U+2028 \u2028 NEL \x85 tab \t RTL \u202e NUL \x00 form \x0c quote " comma , emoji \U0001f600'


@given(
    st.lists(st.dictionaries(TEXT, TEXT | st.integers() | st.lists(TEXT) | st.none(), min_size=1), min_size=1),
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
)
def test_rows_come_back_from_json_lines(rows, ascii_only, end):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.jsonl"
        file.write_bytes("".join(json.dumps(row, ensure_ascii=ascii_only) + end for row in rows).encode())
        assert list(read_text(file)) == rows


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1))
def test_rows_come_back_from_csv(values):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.csv"
        with file.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([("a", "b"), *values])
        assert list(read_text(file)) == [{"a": a, "b": b} for a, b in values]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("bom.jsonl", b'\xef\xbb\xbf{"a": 1}\n', [{"a": 1}]),
        ("bom.csv", b"\xef\xbb\xbfa,b\r\n1,2\r\n", [{"a": "1", "b": "2"}]),
        ("crlf.jsonl", b'{"a": 1}\r\n{"a": 2}\r\n', [{"a": 1}, {"a": 2}]),
        ("blank.jsonl", b'{"a": 1}\n\n  \n{"a": 2}', [{"a": 1}, {"a": 2}]),
        ("nasty.json", json.dumps({"a": NASTY}, ensure_ascii=False).encode(), [{"a": NASTY}]),
        ("packed.jsonl.gz", gzip.compress(b'{"a": 1}\n', mtime=0), [{"a": 1}]),
        ("plain.tsv", b'a\tb\n"quoted\tx,y\n', [{"a": '"quoted', "b": "x,y"}]),  # TSV has no quoting
        ("pair.jsonl", rb'{"a": "\ud83d\ude00"}', [{"a": "\U0001f600"}]),
        ("long.csv", b"a\n" + b"x" * 200_000 + b"\n", [{"a": "x" * 200_000}]),  # longer than the csv module's own limit
        ("empty.jsonl", b"", []),
        ("empty.csv", b"", []),
    ],
)
def test_a_file_is_read_as(tmp_path, name, content, expected):
    file = tmp_path / name
    file.write_bytes(content)
    assert list(read_text(file)) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", b'{"a": 1}\n{"a": "\xff"}\n', r"x.jsonl:2: not UTF-8 at byte 16 of the file \(0xff\)"),
        ("x.jsonl", b'\xef\xbb\xbf{"a": "\xff"}\n', "x.jsonl:1: not UTF-8 at byte 10"),
        ("x.csv", b"a,b\n1,\xfe\n", "x.csv:2: not UTF-8 at byte 6"),
        ("x.jsonl", b'{"a": 1}\n{"a": 1, }\n', "x.jsonl:2:10: not JSON"),
        ("x.jsonl", b'{"a": 1}\n{"a": "cut of', "x.jsonl:2:7: not JSON.*cut off"),
        ("x.jsonl", b'{"a": NaN}\n', "x.jsonl:1: .*NaN is no JSON number"),
        ("x.jsonl", b'{"a": -Infinity}\n', "-Infinity is no JSON number"),
        ("x.jsonl", b'["a"]\n', "x.jsonl:1: found a JSON list, expected an object"),
        ("x.jsonl", b"3\n", "found a JSON int"),
        ("x.jsonl", rb'{"a": "\ud800 b"}', r"x.jsonl:1: the escape \\ud800 is half of a surrogate pair"),
        ("x.jsonl", b'{"a": ' + b"[" * 100_000 + b"\n", "x.jsonl:1: not usable JSON"),
        ("x.jsonl", b'{"a": ' + b"9" * 10_000 + b"}\n", "x.jsonl:1: not usable JSON"),
        (
            "x.jsonl.gz",
            gzip.compress(b'{"a": "' + bytes(range(32, 127)) * 50 + b'"}\n', mtime=0)[:-20],
            "x.jsonl.gz: the gzip data is damaged or cut off",
        ),
        ("x.jsonl.gz", b"no gzip at all", "x.jsonl.gz: the gzip data is damaged"),
        ("x.csv", b"a,b\n1\n", "x.csv:2: 1 values, the header has 2: a, b"),
        ("x.csv", b"a,a\n1,2\n", "x.csv:1: the header has an empty or double name"),
        ("x.csv", b'a,b\n1,"open\n', "x.csv:2: not CSV"),
    ],
)
def test_a_damaged_file_is_refused_with_its_place(tmp_path, name, content, message):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(DataError, match=f"(?s){message}"):
        list(read_text(file))


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "FREE_BYTES", 10**6)  # a gigabyte would take seconds
    file = tmp_path / "bomb.jsonl.gz"
    file.write_bytes(gzip.compress((b'{"a": "' + b"x" * 10_000 + b'"}\n') * 1000, mtime=0))
    with pytest.raises(DataError, match="unpacks to more than 200 times its size"):
        list(read_text(file))


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "MAX_ROW_BYTES", 1000)
    file = tmp_path / "x.jsonl"
    file.write_bytes(b'{"a": "' + b"x" * 2000)
    with pytest.raises(DataError, match=r"x.jsonl:1: a line of more than 1000 bytes"):
        list(read_text(file))


CONLL = "-DOCSTART- -X- O O\n\nEU NNP I-NP B-ORG\nrejects VBZ I-VP O\n\n\nPeter NNP I-NP B-PER\r\nBlackburn NNP I-NP I-PER"


@pytest.mark.parametrize("name", ["x.conll", "x.bio", "x.iob2", "x.conll.gz"])
def test_sentences_of_conll_files_are_rows(tmp_path, name):
    file = tmp_path / name
    file.write_bytes(gzip.compress(CONLL.encode()) if name.endswith(".gz") else CONLL.encode())

    assert list(read_text(file)) == [
        {"words": ["EU", "rejects"], "tags": ["B-ORG", "O"]},
        {"words": ["Peter", "Blackburn"], "tags": ["B-PER", "I-PER"]},
    ]


def test_columns_between_tabs_may_hold_spaces(tmp_path):
    file = tmp_path / "x.bio"
    file.write_text("New York\tB-LOC\nis\tO\n")

    assert list(read_text(file)) == [{"words": ["New York", "is"], "tags": ["B-LOC", "O"]}]


@pytest.mark.parametrize("line", ["Peter", "Peter\t", "\tB-PER"])
def test_a_word_without_a_tag_is_named_by_line(tmp_path, line):
    file = tmp_path / "x.conll"
    file.write_text(f"EU B-ORG\n{line}\n")

    with pytest.raises(DataError, match=r"x\.conll:2: found .* expected a word and, in the last column, its tag"):
        list(read_text(file))
