"""A real S3 server on this machine: moto's, which speaks HTTP, keeps objects in memory and honours conditional puts."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_NUMBERS = itertools.count()


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """The variables that clients need."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would write a line a request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    server.stop()


@pytest.fixture(scope="session")
def s3_environ() -> Iterator[dict[str, str]]:
    """One server for all tests: each has a bucket of its own."""
    with s3_server() as environ:
        yield environ


@pytest.fixture
def bucket(s3_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """`s3://<a new bucket>`, as this process and its children find it."""
    import fsspec

    for name, value in s3_environ.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{next(_NUMBERS)}"
    fsspec.filesystem("s3", use_listings_cache=False).mkdir(name)
    return f"s3://{name}"
