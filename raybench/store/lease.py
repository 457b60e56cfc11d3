"""One writer a run on an object store: a lease that is renewed, and taken over only when it has not been for its whole length.

    lease/000001.json   of the first writer, {"state": "free"} since its end
    lease/000002.json   of the second: renewed every few seconds

A lease is an object of its own, made by a conditional put: of two writers one gets the number. The number is the fencing token: whoever sees a
higher one than its own has lost the run and writes nothing more. No clocks are compared: a second writer watches the newest lease, is told who
holds it as soon as it is renewed, and takes the next number when nothing has happened for the time that the lease itself names.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from raybench.core.errors import ConfigError, IncompleteError, RunError, StorageError
from raybench.store.objects import Objects

FOLDER = "lease"
LENGTH_S = 30.0
"""Without a renewal for this long the writer is taken for dead."""
_LOOKS = 10
"""Looks at somebody's lease in its length."""
_RENEWALS = 3
"""Renewals of one's own in its length."""


class Lease:
    """A lease that is held."""

    def __init__(self, objects: Objects, number: int, content: dict[str, Any]) -> None:
        self._objects = objects
        self.number = number
        """The fencing token: rises with every writer of a run."""
        self._content = content
        self._renewed = time.monotonic()
        self._is_lost = False

    def check(self) -> None:
        """Pass while nobody else has taken the run over.

        Raises:
            IncompleteError: when somebody has: this process must not write any more.
        """
        self._is_lost = self._is_lost or _newest(self._objects) != self.number
        self._refuse_when_lost()

    def check_quickly(self) -> None:
        """As `check`, without a request while the last renewal still counts: for objects that nobody overwrites."""
        self._refuse_when_lost()
        if time.monotonic() - self._renewed > self._content["length_s"]:
            self.check()

    def renew(self) -> None:
        """Say that the writer lives, and look whether it is still the one."""
        begin = time.monotonic()
        self._content["renewals"] += 1
        self._write()
        self.check()
        self._renewed = begin

    def free(self) -> None:
        """Let the next writer begin at once; nothing where somebody else has taken over."""
        if not self._is_lost:
            self._content["state"] = "free"
            self._write()

    def _write(self) -> None:
        self._objects.put(_name(self.number), json.dumps(self._content).encode())

    def _refuse_when_lost(self) -> None:
        if self._is_lost:
            raise IncompleteError(
                f"{self._objects.uri}: another process has taken the run over, since this one did not answer for"
                f" {self._content['length_s']:g} s. What was committed is kept; the other one goes on."
            )


@contextmanager
def hold_lease(objects: Objects, *, started: float) -> Iterator[Lease]:
    """Be the only writer of a run inside the block; renewed by a thread.

    Args:
        objects: Of the run.
        started: Seconds since the epoch, for the message to the second comer.

    Raises:
        RunError: when another process holds it: after its next renewal, so after a third of its length at most.
        ConfigError: when the store does not refuse to overwrite.
    """
    lease = _take(objects, started)
    is_over = threading.Event()
    renewer = threading.Thread(target=_keep_renewing, args=(lease, is_over), name="raybench-lease", daemon=True)
    renewer.start()
    try:
        yield lease
    finally:
        is_over.set()
        renewer.join()
        with suppress(StorageError):  # it ends by itself
            lease.free()


def is_leased(objects: Objects) -> bool:
    """Whether the newest lease has not been given back; a writer that was killed a moment ago counts as well."""
    number = _newest(objects)
    return number > 0 and _read(objects, number).get("state") == "held"


def _keep_renewing(lease: Lease, is_over: threading.Event) -> None:
    while not is_over.wait(LENGTH_S / _RENEWALS):
        try:
            lease.renew()
        except StorageError:
            continue  # tried again soon; what is to be written meanwhile fails by itself
        except IncompleteError:
            return  # the writer finds out when it writes


def _take(objects: Objects, started: float) -> Lease:
    content = {
        "state": "held", "holder": secrets.token_hex(8), "host": socket.gethostname(), "pid": os.getpid(), "started": started,
        "length_s": LENGTH_S, "renewals": 0,
    }  # fmt: skip
    data = json.dumps(content).encode()
    while True:
        number = _newest(objects)
        if number:
            _wait_until_free(objects, number)
        # an answer may be lost on the way, and the library's second try then finds our own object
        if objects.create(_name(number + 1), data) or _read(objects, number + 1).get("holder") == content["holder"]:
            break
    if objects.create(_name(number + 1), data):
        raise ConfigError(f"{objects.uri}: the store overwrites objects although it is asked not to (conditional puts); use another one.")
    return Lease(objects, number + 1, content)


def _wait_until_free(objects: Objects, number: int) -> None:
    """Until a lease is given back, or has not been renewed for its length.

    Raises:
        RunError: as soon as it is renewed.
    """
    first = _read(objects, number)
    length = float(first.get("length_s", LENGTH_S))
    begin = time.monotonic()
    while (now := _read(objects, number)).get("state") == "held":
        if now != first:
            since = datetime.fromtimestamp(now["started"], UTC).isoformat(timespec="seconds")
            raise RunError(
                f"{objects.uri}: in use by pid {now['pid']} on host {now['host']} since {since}."
                " Wait for it, stop it, or choose another --output."
            )
        if time.monotonic() - begin > length:
            return
        time.sleep(length / _LOOKS)


def _newest(objects: Objects) -> int:
    """The highest number; 0 where there is none."""
    numbers = [int(stem) for name in objects.names(FOLDER) if (stem := name.removeprefix(f"{FOLDER}/").removesuffix(".json")).isdecimal()]
    return max(numbers, default=0)


def _read(objects: Objects, number: int) -> dict[str, Any]:
    try:
        content = json.loads(objects.read(_name(number)))
    except ValueError as error:
        raise RunError(f"{objects.uri}/{_name(number)}: no lease of raybench's; delete it if nobody writes to the run.") from error
    return content if isinstance(content, dict) else {}


def _name(number: int) -> str:
    return f"{FOLDER}/{number:06d}.json"
