"""Whether a Ray cluster may be talked to, and in which mode: the one rule for drivers that join one and for clients that submit to one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from raybench.core.errors import ConfigError

LOOPBACK = ("127.0.0.1", "localhost", "::1", "auto")
"""Hosts that are this machine; `auto` is Ray's word for the cluster that runs here."""


def has_token(environ: Mapping[str, str] | None = None, home: Path | None = None) -> bool:
    """Whether Ray would find a token, in its order: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token (Ray 2.60)."""
    environ = os.environ if environ is None else environ
    paths = [environ.get("RAY_AUTH_TOKEN_PATH"), str((home or Path.home()) / ".ray" / "auth_token")]
    return bool(environ.get("RAY_AUTH_TOKEN")) or any(p and Path(p).is_file() for p in paths)


def auth_mode(
    host: str, *, consent: bool, what: str, environ: Mapping[str, str] | None = None, home: Path | None = None
) -> Literal["token", "disabled"]:
    """The value that RAY_AUTH_MODE must have before ray is imported: a token alone does not make Ray send it.

    Args:
        host: Of the cluster, without a port.
        consent: Whether the user agreed to a cluster on the network without a token.
        what: How the user named the address, for the message.
        environ: In place of the process's own.
        home: In place of the user's own.

    Raises:
        ConfigError: no token, an address on the network, and no consent. Whoever reaches a Ray without a token can run code on it.
    """
    if has_token(environ, home):
        return "token"
    if not consent and host not in LOOPBACK:
        raise ConfigError(
            f"{what}: no token was found, and the address is on the network. Set RAY_AUTH_TOKEN_PATH, "
            "or `ray: {auth: none}` if the network is closed."
        )
    return "disabled"
