"""What travels to a cluster with a job: the configuration, and a folder of the user's if asked for; listed and measured before it leaves."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from raybench.core.errors import ConfigError
from raybench.core.secrets import SECRET

MAX_BYTES = 100_000_000
"""Of one upload, by default: data and checkpoints belong on the cluster's own storage. Ray itself takes 512 MiB (its gRPC limit)."""
EXCLUDED = (
    ".*", "__pycache__", "*.pyc", "*.egg-info", "runs", "build", "dist", "node_modules", "venv",
    "*.pem", "*.key", "id_rsa*", "id_ed25519*", "*auth_token*",
)  # fmt: skip
"""Names that never travel: whatever begins with a dot (.git, .env, .venv, .ssh), results, builds, keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A staged folder."""

    folder: Path
    files: tuple[tuple[str, int], ...]
    """(path inside the folder, bytes), largest first."""

    @property
    def num_bytes(self) -> int:
        """Of all files."""
        return sum(size for _, size in self.files)

    def describe(self) -> str:
        """One line: how much, and the largest files."""
        largest = ", ".join(f"{name} ({_size(size)})" for name, size in self.files[:3])
        return f"{len(self.files)} files, {_size(self.num_bytes)}: {largest}{', ...' if len(self.files) > 3 else ''}"


def stage(
    target: Path, config_text: str, *, source: Path | None = None, excludes: Sequence[str] = (), max_bytes: int = MAX_BYTES
) -> Upload:
    """Copy what travels into `target`, an empty folder; it is uploaded exactly as it is.

    Args:
        target: Where the files go; the configuration becomes `raybench-job.yaml`.
        config_text: The configuration.
        source: A folder whose files travel too; None: only the configuration.
        excludes: Further names or paths that stay here, as shell patterns.
        max_bytes: Largest sum of file sizes.

    Raises:
        ConfigError: when the folder is missing, or larger than allowed; says what is largest.
    """
    files: list[tuple[str, int]] = []
    if source is not None:
        if not source.is_dir():
            raise ConfigError(f"--working-dir {source}: no folder. It is what travels to the cluster beside the configuration.")
        files = list(_listed(source, (*EXCLUDED, *excludes)))
        total = sum(size for _, size in files)
        if total > max_bytes:
            largest = ", ".join(f"{name} ({_size(size)})" for name, size in sorted(files, key=lambda f: -f[1])[:5])
            raise ConfigError(
                f"--working-dir {source}: {len(files)} files of {_size(total)}; at most {_size(max_bytes)} are uploaded. Largest: {largest}. "
                "Leave files out with --exclude, or put data and checkpoints on storage that the cluster reads."
            )
        for name, _ in files:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)
    (target / CONFIG_NAME).write_text(config_text)
    files.append((CONFIG_NAME, len(config_text.encode())))
    return Upload(folder=target, files=tuple(sorted(files, key=lambda f: (-f[1], f[0]))))


CONFIG_NAME = "raybench-job.yaml"
"""Of the configuration inside an upload."""


def split_environment(given: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """`--env` values: names that must be set on the cluster, and plain values that travel.

    What travels stands readable in the job's description, for everybody who reaches the cluster's API.

    Raises:
        ConfigError: for a value whose name says that it is a secret, or a name that is none.
    """
    names: list[str] = []
    values: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ConfigError(f"--env {name!r}: no name of an environment variable; expected NAME or NAME=VALUE.")
        if equals and SECRET.search(name):
            raise ConfigError(
                f"--env {name}=...: looks like a secret, and the values of a job are readable in its description. "
                f"Set it on the cluster, and write --env {name} to have its presence checked."
            )
        if equals:
            values[name] = value
        else:
            names.append(name)
    return names, values


def _listed(source: Path, excludes: Sequence[str]) -> Iterator[tuple[str, int]]:
    """(path relative to `source`, bytes) of regular files, in order; links are not followed and not taken."""
    for folder, subfolders, names in os.walk(source):
        base = Path(folder).relative_to(source)
        subfolders[:] = sorted(n for n in subfolders if not _is_excluded(base / n, excludes))
        for name in sorted(names):
            path = Path(folder, name)
            if not _is_excluded(base / name, excludes) and path.is_file() and not path.is_symlink():
                yield (base / name).as_posix(), path.stat().st_size


def _is_excluded(path: Path, excludes: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(path.name, pattern) or fnmatch.fnmatchcase(path.as_posix(), pattern) for pattern in excludes)


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e5 else f"{num_bytes / 1e3:.1f} kB"
