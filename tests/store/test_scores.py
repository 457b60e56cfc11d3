from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from raybench.core.errors import RunError
from raybench.store.run_dir import RunDir
from raybench.store.scores import ScoreWriter, read_scores

SCHEMA = pa.schema([("sample_id", pa.string()), ("stats", pa.list_(pa.float64()))])


def rows(*names: str) -> pa.RecordBatch:
    return pa.record_batch([list(names), [[0.1, 1.0]] * len(names)], schema=SCHEMA)


def test_scores_are_streamed_and_read_back_in_order(run: RunDir) -> None:
    with run.score_writer("gsm8k", "m", SCHEMA) as writer:
        writer.write(rows("a", "b"))
        writer.write(rows("c"))

    table = run.scores("gsm8k", "m")

    assert table.schema.equals(SCHEMA)
    assert table.column("sample_id").to_pylist() == ["a", "b", "c"]
    assert table.column("stats").to_pylist() == [[0.1, 1.0]] * 3


def test_scoring_again_replaces_and_a_failed_scoring_does_not(tmp_path: Path) -> None:
    path = tmp_path / "t" / "m.parquet"
    for name in ("old", "new"):
        with ScoreWriter(path, SCHEMA) as writer:
            writer.write(rows(name))

    with pytest.raises(ZeroDivisionError), ScoreWriter(path, SCHEMA) as writer:  # noqa: PT012
        writer.write(rows("half"))
        raise ZeroDivisionError

    assert read_scores(path).column("sample_id").to_pylist() == ["new"]
    assert [p.name for p in path.parent.iterdir()] == ["m.parquet"]


def test_missing_and_damaged_scores_say_how_to_get_them(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    with pytest.raises(RunError, match=r"no such score table.*raybench score"):
        read_scores(path)

    path.write_bytes(b"PAR1")

    with pytest.raises(RunError, match=r"damaged.*raybench score"):
        read_scores(path)
