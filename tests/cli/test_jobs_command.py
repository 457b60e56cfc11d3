"""`raybench jobs` without a cluster; with one, see tests/launch/test_ray_job.py."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Call


@pytest.mark.parametrize("name", ["list", "status", "logs", "cancel", "fetch"])
def test_every_command_says_what_it_does(name: str, call: Call) -> None:
    said = call("jobs", name, "--help")

    assert said.code == 0
    assert "--address" in said.out


def test_without_an_address_there_is_nothing_to_ask(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)

    said = call("jobs", "list")

    assert said.code == 2
    assert "--address" in said.err
