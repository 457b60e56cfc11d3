"""Rows of text files: JSON Lines, CSV, TSV and CoNLL, plain or gzipped, streamed, with errors that name file, line and byte."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NoReturn, cast

from raybench.core.errors import DataError
from raybench.tasks.locate import format_of

MAX_ROW_BYTES = 64 * 2**20
"""Longest line that is read: more is no row of text but a damaged or hostile file."""
MAX_RATIO = 200
"""A file that unpacks to more than this many times its size, and to more than `FREE_BYTES`, is refused."""
FREE_BYTES = 10**9

Row = dict[str, Any]


def read_text(path: Path) -> Iterator[Row]:
    """The rows of a .jsonl, .json, .csv or .tsv file, in order; blank lines are no rows. Values of CSV and TSV are text.

    Of a .conll, .bio or .iob2 file a row is a sentence: `words`, the first column, and `tags`, the last one.

    Raises:
        DataError: for anything that is no such file; nothing is skipped or replaced.
    """
    match format_of(path):
        case ".jsonl" | ".json":
            return _json_rows(path)
        case ".csv" | ".tsv":
            return _csv_rows(path)
        case _:
            return _sentences(path)


def _lines(path: Path) -> Iterator[str]:
    """Lines with their ends, decoded; a line ends at a line feed and nowhere else."""
    offset = number = 0
    is_packed = path.name.endswith(".gz")
    most = max(FREE_BYTES, MAX_RATIO * path.stat().st_size) if is_packed else None
    try:
        with cast("IO[bytes]", gzip.open(path, "rb")) if is_packed else path.open("rb") as stream:
            while raw := stream.readline(MAX_ROW_BYTES + 1):
                number += 1
                if len(raw) > MAX_ROW_BYTES:
                    raise DataError(f"{path}:{number}: a line of more than {MAX_ROW_BYTES} bytes. Expected one row a line.")
                start, offset = offset, offset + len(raw)
                if most is not None and offset > most:
                    raise DataError(
                        f"{path}: unpacks to more than {MAX_RATIO} times its size ({most} bytes); refused. Unpack it yourself if you trust it."
                    )
                if number == 1:
                    raw = raw.removeprefix(b"\xef\xbb\xbf")  # a byte order mark
                    start = offset - len(raw)
                try:
                    yield raw.decode()
                except UnicodeDecodeError as error:
                    at = start + error.start
                    raise DataError(
                        f"{path}:{number}: not UTF-8 at byte {at} of the file (0x{raw[error.start]:02x}). Save it as UTF-8."
                    ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path}: the gzip data is damaged or cut off after {offset} unpacked bytes ({number} lines): {error}. Fetch the file again."
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _decode(line: str) -> Any:
    """The JSON value of a line. `decode` looks for space around it with two regular expressions, a third of its time: mostly there is none."""
    try:
        value, end = _DECODER.raw_decode(line)
    except json.JSONDecodeError:
        return _DECODER.decode(line)
    return value if line[end:] in ("\n", "") else _DECODER.decode(line)


def _json_rows(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_lines(path), 1):
        try:
            row = _decode(line)
        except json.JSONDecodeError as error:
            if not line.strip():
                continue
            cut = "" if line.endswith("\n") else " It is the last line: the file may be cut off."
            raise DataError(f"{path}:{number}:{error.colno}: not JSON: {error.msg}. Expected one JSON object a line.{cut}") from error
        except (ValueError, RecursionError) as error:  # NaN, a number of thousands of digits, brackets without end
            raise DataError(f"{path}:{number}: not usable JSON: {error}. Write null for an unknown value.") from error
        if type(row) is not dict:
            raise DataError(f'{path}:{number}: found a JSON {type(row).__name__}, expected an object, such as {{"question": "..."}}.')
        if "\\u" in line:  # only an escape can bring in half a surrogate pair
            _check_unicode(row, f"{path}:{number}")
        yield row


def _check_unicode(row: Row, where: str) -> None:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        found = f"\\u{ord(error.object[error.start]):04x}"
        raise DataError(f"{where}: the escape {found} is half of a surrogate pair and no character.") from error


def _csv_rows(path: Path) -> Iterator[Row]:
    # the limit of the csv module is one for the whole process (131,072 by default), too short for passages
    csv.field_size_limit(MAX_ROW_BYTES)
    lines = _lines(path)
    # text/tab-separated-values has no quoting (IANA); CSV has (RFC 4180)
    is_tsv = format_of(path) == ".tsv"
    reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True) if is_tsv else csv.reader(lines, strict=True)
    try:
        header = next(reader, None)
        if header is None:
            return
        if len(set(header)) < len(header) or not all(header):
            raise DataError(f"{path}:1: the header has an empty or double name: {', '.join(map(repr, header))}.")
        for values in reader:
            if len(values) != len(header):
                if not values:
                    continue
                raise DataError(f"{path}:{reader.line_num}: {len(values)} values, the header has {len(header)}: {', '.join(header)}.")
            yield dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not {'TSV' if is_tsv else 'CSV'}: {error}.") from error


def _sentences(path: Path) -> Iterator[Row]:
    """A word a line, columns between tabs or, without any, spaces; a blank line ends a sentence, and `-DOCSTART-` begins a document (CoNLL-2003)."""
    words: list[str] = []
    tags: list[str] = []
    for number, line in enumerate(_lines(path), 1):
        columns = line.rstrip("\r\n").split("\t") if "\t" in line else line.split()
        if columns and columns[0] == "-DOCSTART-":
            continue
        if "".join(columns).strip():
            if len(columns) < 2 or not columns[0] or not columns[-1]:
                raise DataError(f"{path}:{number}: found {line.strip()[:40]!r}, expected a word and, in the last column, its tag.")
            words.append(columns[0])
            tags.append(columns[-1].strip())
        elif words:
            yield {"words": words, "tags": tags}
            words, tags = [], []
    if words:
        yield {"words": words, "tags": tags}
