r"""A run directory through a stream of text lines: how results come back from a cluster that shares no file system with us.

    raybench-archive 1 <bytes> <sha256>
    <base64, 57 bytes a line>
    raybench-archive end

`python -m raybench.launch.archive FOLDER` writes it to stdout, on the cluster; `unpack` reads it here, out of a job's log.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import io
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from raybench.core.errors import IncompleteError, RunError

MAX_BYTES = 200_000_000
"""Of the packed archive: it passes through the memory of the cluster's dashboard as text."""
RESULTS = ("manifest.json", "state.json", "results.json", "efficiency.json", "scores", "events")
"""What `--only results` brings: numbers and their origin, without prompts and answers."""
_BEGIN, _END = "raybench-archive 1 ", "raybench-archive end"


def pack(folder: Path, *, only_results: bool = False) -> bytes:
    """The run directory as a gzipped tar; unfinished files and the lock stay.

    Raises:
        RunError: when it is no run directory, or larger than what may pass.
    """
    if not (folder / "manifest.json").is_file():
        raise RunError(f"{folder}: no run directory on this machine. Jobs keep their runs on the node that runs the driver.")
    names = [folder / name for name in RESULTS] if only_results else sorted(folder.iterdir())
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as tar:
        for path in names:
            if path.exists() and path.name != "lock":
                tar.add(path, arcname=path.name, filter=_published)
    data = buffer.getvalue()
    if len(data) > MAX_BYTES:
        raise RunError(
            f"{folder}: {len(data) / 1e6:.0f} MB packed, and at most {MAX_BYTES / 1e6:.0f} MB pass through a job's log. "
            "Fetch with --only results, or copy the folder from storage that both sides reach."
        )
    return data


def _published(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info if (info.isfile() or info.isdir()) and not Path(info.name).name.startswith(".tmp-") else None


def write(data: bytes, stream: TextIO) -> None:
    """The archive as lines of text."""
    stream.write(f"{_BEGIN}{len(data)} {hashlib.sha256(data).hexdigest()}\n")
    for start in range(0, len(data), 57):
        stream.write(base64.b64encode(data[start : start + 57]).decode() + "\n")
    stream.write(f"{_END}\n")
    stream.flush()


def unpack(text: str, target: Path) -> int:
    """Take the archive out of a log and put its files below `target`; returns the number of files.

    Members that lead outside, links and devices are refused (tar's data filter).

    Raises:
        IncompleteError: when the archive is cut or damaged; nothing is written.
        RunError: when a member is refused, or `target` holds files.
    """
    lines = iter(text.splitlines())
    head = next((line for line in lines if line.startswith(_BEGIN)), None)
    if head is None:
        raise IncompleteError(f"no archive in the job's log; it ends with: {text.strip()[-300:]!r}.")
    body: list[str] = []
    for line in lines:
        if line == _END:
            break
        body.append(line)
    else:
        raise IncompleteError("the archive in the job's log is cut; fetch again.")
    size, digest = head.removeprefix(_BEGIN).split()
    try:
        data = base64.b64decode("".join(body), validate=True)
    except binascii.Error as error:
        raise IncompleteError(f"the archive in the job's log is damaged ({error}); fetch again.") from error
    if len(data) != int(size) or hashlib.sha256(data).hexdigest() != digest:
        raise IncompleteError(f"the archive in the job's log is damaged: {len(data)} bytes, {size} were sent; fetch again.")
    if target.exists() and any(target.iterdir()):
        raise RunError(f"{target}: exists and is not empty; choose another --output.")
    target.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
            tar.extractall(target, filter="data")
            return sum(member.isfile() for member in tar.getmembers())
    except tarfile.TarError as error:
        raise RunError(f"{target}: the archive holds what no run directory has: {error}.") from error


def main(arguments: Sequence[str]) -> int:
    """Write an archive to stdout; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m raybench.launch.archive", description="A run directory as text on stdout.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only-results", action="store_true")
    parsed = parser.parse_args(arguments)
    try:
        write(pack(parsed.folder.expanduser(), only_results=parsed.only_results), sys.stdout)
    except RunError as error:
        sys.stderr.write(f"raybench: {error.message}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
