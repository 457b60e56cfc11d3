"""What is told at the end of a run, and that no shell reads it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from raybench.core.config_file import parse
from raybench.driver.finish import tell_finish, words_of
from tests.driver.runs import command, fake_config, write_config

TELL = "import json, sys; from pathlib import Path; Path(sys.argv[1]).write_text(json.dumps(sys.argv[2:]))"


def test_a_word_stays_one_word_whatever_is_put_in() -> None:
    words = words_of(
        ["notify", "run={path}", "{exit_code}: {summary}", "{}"], path="/a b/$(x)", exit_code=3, summary="one\ntwo; rm -rf {path}"
    )

    assert words == ["notify", "run=/a b/$(x)", "3: one two; rm -rf {path}", "{}"]


def test_no_command_is_no_problem() -> None:
    assert tell_finish((), path="x", exit_code=0, summary="") is None


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("/nowhere/notify",), "on_finish: /nowhere/notify cannot be run: "),
        ((sys.executable, "-c", "import sys; sys.exit('no network')"), f"on_finish: {sys.executable} ended with 1: no network"),
    ],
)
def test_a_command_that_fails_is_a_sentence(words: tuple[str, ...], problem: str) -> None:
    said = tell_finish(words, path="x", exit_code=0, summary="")

    assert said is not None
    assert said.startswith(problem)


def test_a_string_is_split_into_words_once(tmp_path: Path) -> None:
    config = fake_config(tmp_path / "run", on_finish="notify --to 'a b' {summary}")

    assert config.on_finish == ("notify", "--to", "a b", "{summary}")
    assert parse(config.model_dump(mode="json")).on_finish == config.on_finish


@pytest.mark.parametrize(
    ("changes", "code", "summary"),
    [
        ({}, 0, "faked: 48 samples in 0 s, complete"),
        ({"engine": {"faults": [{"kind": "error"}]}, "max_attempts": 1}, 3, "faked: 48 samples in 0 s, 6 of 6 shards were given up: "),
        ({"models": [{"checkpoint": "/nowhere/model"}], "engine": {"kind": "pytorch"}}, 2, "faked: "),
    ],
    ids=["complete", "incomplete", "broken"],
)
def test_a_run_tells_its_path_code_and_summary_however_it_ends(
    changes: dict[str, object], code: int, summary: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said.json"
    words = [sys.executable, "-c", TELL, str(said), "{path}", "{exit_code}", "{summary}"]
    config = fake_config(tmp_path / "run", on_finish=words, **changes)

    ended = command(monkeypatch, "run", write_config(tmp_path, config))

    path, told, text = json.loads(said.read_text())
    assert (path, told) == (str(tmp_path / "run"), str(ended))
    assert ended == code
    assert text.startswith(summary)
