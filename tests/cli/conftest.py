"""The command line called in this process, and a small run to call it on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from raybench.cli.main import main


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str


Call = Callable[..., Said]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """`raybench ...` as a shell would call it."""

    def call(*arguments: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["raybench", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        assert isinstance(caught.value.code, int)
        captured = capsys.readouterr()
        return Said(code=caught.value.code, out=captured.out, err=captured.err)

    return call


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration of the fake engine: 12 questions, 8 word problems; the first option is always taken. The test runs in its folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.yaml"
    path.write_text(
        "name: small\n"
        "models: [m]\n"
        "tasks:\n"
        "  - {name: quickstart/choice, limit: 12, shard_size: 4}\n"
        "  - {name: quickstart/arithmetic, limit: 8, shots: 0}\n"
        "engine: {kind: fake, answer: first}\n"
        "pool: local\n"
        "bootstrap: 20\n"
    )
    return path


@pytest.fixture
def done(config: Path, call: Call) -> Path:
    """The run directory of `config`, complete."""
    assert call("run", config).code == 0
    return config.parent / "runs" / "small"
