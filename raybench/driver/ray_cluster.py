"""The Ray cluster of a run: joined, or started on this machine behind a token; and what is asked of it beyond actors."""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Set
from functools import lru_cache
from pathlib import Path
from typing import Any

from raybench.core.config import RayConfig
from raybench.core.errors import ConfigError
from raybench.core.ray_auth import auth_mode, has_token


def connect(config: RayConfig) -> bool:
    """Join the configured cluster or start one on this machine; True when it is ours to stop.

    Raises:
        ConfigError: when the cluster cannot be reached, or is on the network without a token.
    """
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        return False
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False, "configure_logging": False}
    if config.address is None:
        if not has_token():
            os.environ["RAY_AUTH_TOKEN_PATH"] = str(make_token())
        if "ray" not in sys.modules:
            os.environ["RAY_AUTH_MODE"] = "token"  # before the import, which reads it; an imported Ray turns it on by itself
        import ray

        # it warns that it handles no signals when it starts in a thread (place.py); the driver does that itself
        logging.getLogger("ray").setLevel(logging.ERROR)
        ray.init(address="local", include_dashboard=False, **quiet)
        return True
    host = config.address.rpartition(":")[0].strip("[]") or config.address
    mode = auth_mode(host, consent=config.auth == "none", what=f"ray.address {config.address}")
    os.environ.setdefault("RAY_AUTH_MODE", mode)
    import ray

    try:
        ray.init(address=config.address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"ray.address {config.address}: cannot be joined: {cause_of(error)} Is the head running there, is the port right "
            "(6379 by default), and is the token in RAY_AUTH_TOKEN_PATH the head's?"
        ) from error
    return True  # disconnecting is ours; a cluster that was joined goes on without us


@lru_cache(maxsize=1)
def make_token() -> Path:
    """A file with a new token, until the process ends: Ray keeps the first token it reads, also for a second cluster."""
    folder = Path(tempfile.mkdtemp(prefix="raybench-ray-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    return token


def node_id() -> str:
    """Ray's id of the node that this process is on."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def draining_nodes() -> Set[str]:
    """Ids of the nodes that were told to end: spot notices, `ray start --block` at SIGTERM, the autoscaler.

    Not a public function of Ray (2.60); Ray Train and Ray Data ask the same one. Without it a node that goes is noticed when it is gone.
    """
    from ray._private import state

    ask = getattr(state.state, "get_draining_nodes", None)
    return frozenset() if ask is None else frozenset(ask())


def cause_of(error: Exception) -> str:
    """Ray's account of a dead actor on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"
