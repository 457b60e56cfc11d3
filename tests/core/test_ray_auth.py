"""Whether a cluster may be talked to: the one rule for drivers and for clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from raybench.core.errors import ConfigError
from raybench.core.ray_auth import auth_mode, has_token


def test_a_token_is_found_where_ray_looks_for_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x")
    home = tmp_path / "home"
    (home / ".ray").mkdir(parents=True)

    assert not has_token({}, home)
    assert has_token({"RAY_AUTH_TOKEN": "x"}, home)
    assert has_token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}, home)
    assert not has_token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "nothing")}, home)
    (home / ".ray" / "auth_token").write_text("x")
    assert has_token({}, home)


@pytest.mark.parametrize(
    ("host", "consent", "environ", "expected"),
    [
        ("head.example", False, {"RAY_AUTH_TOKEN": "x"}, "token"),
        ("127.0.0.1", False, {"RAY_AUTH_TOKEN": "x"}, "token"),
        ("127.0.0.1", False, {}, "disabled"),
        ("localhost", False, {}, "disabled"),
        ("head.example", True, {}, "disabled"),
    ],
)
def test_the_mode_is_always_said(host: str, consent: bool, environ: dict[str, str], expected: str, tmp_path: Path) -> None:
    assert auth_mode(host, consent=consent, what="--address x", environ=environ, home=tmp_path) == expected


def test_a_cluster_on_the_network_needs_a_token_or_consent(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--address x: no token was found, and the address is on the network"):
        auth_mode("head.example", consent=False, what="--address x", environ={}, home=tmp_path)
