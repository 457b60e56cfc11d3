from __future__ import annotations

from pathlib import Path
from typing import Any

from raybench.core.schema import TELEMETRY
from raybench.store.telemetry import TelemetryWriter, read_telemetry


def row(number: int) -> dict[str, Any]:
    return {"model": "m", "task": "t", "fingerprint": f"{number:x}", "attempt": 1, "seconds": number / 2}


def test_rows_come_back_in_order_from_full_segments_and_the_rest(tmp_path: Path) -> None:
    with TelemetryWriter(tmp_path / "telemetry", segment_rows=4) as writer:
        for number in range(10):
            writer.append(row(number))

    table = read_telemetry(tmp_path / "telemetry")

    assert table.schema.equals(TELEMETRY)
    assert table.column("seconds").to_pylist() == [n / 2 for n in range(10)]
    assert table.column("node").null_count == 10
    assert sorted(p.name for p in (tmp_path / "telemetry").iterdir()) == ["000001.parquet", "000002.parquet", "000003.parquet"]


def test_a_later_process_begins_a_segment_of_its_own(tmp_path: Path) -> None:
    for number in range(2):
        with TelemetryWriter(tmp_path) as writer:
            writer.append(row(number))

    assert read_telemetry(tmp_path).num_rows == 2


def test_a_damaged_segment_costs_only_its_own_rows(tmp_path: Path) -> None:
    with TelemetryWriter(tmp_path, segment_rows=1) as writer:
        for number in range(3):
            writer.append(row(number))
    (tmp_path / "000002.parquet").write_bytes(b"")

    assert read_telemetry(tmp_path).column("fingerprint").to_pylist() == ["0", "2"]


def test_no_telemetry_is_an_empty_table(tmp_path: Path) -> None:
    assert read_telemetry(tmp_path / "telemetry").num_rows == 0
