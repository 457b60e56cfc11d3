"""The one door to object stores: a few requests on the objects below one prefix, through fsspec (s3fs, gcsfs).

Objects appear whole, cannot be appended to, and a conditional put (`If-None-Match: *` on S3, `ifGenerationMatch=0` on Google) creates one
only where there is none: all that commits and leases need. Addresses and credentials come from where the store's own tools look for them
(AWS_ENDPOINT_URL, AWS_PROFILE, instance roles, application default credentials); none passes through raybench.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from raybench.core.errors import ConfigError, StorageError

SCHEMES = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gcs")}
"""Scheme of a URI to the package that speaks it, and to raybench's extra that brings the package."""
_TRIES = 3


def is_uri(name: str | Path) -> bool:
    """Whether a run, or a checkpoint, is named as something on an object store."""
    return str(name).partition("://")[0] in SCHEMES and "://" in str(name)


class Objects:
    """The objects below a URI, by names relative to it. Safe to use from several threads."""

    def __init__(self, uri: str) -> None:
        """Prepare to talk to the store; sends nothing.

        Raises:
            ConfigError: when the URI is none of ours, holds credentials, or its package is missing.
        """
        self.uri = uri.rstrip("/")
        scheme, _, rest = self.uri.partition("://")
        bucket, _, prefix = rest.partition("/")
        if scheme not in SCHEMES:
            raise ConfigError(f"'{uri}': expected {' or '.join(f'{name}://bucket/folder' for name in SCHEMES)}.")
        if "@" in bucket:
            raise ConfigError(
                f"'{scheme}://...@{bucket.rpartition('@')[2]}': no credentials in a URI, it is stored with the run; see `AWS_PROFILE`."
            )
        if not bucket or not prefix:
            raise ConfigError(f"'{uri}': expected a bucket and a folder in it, {scheme}://bucket/folder.")
        package, extra = SCHEMES[scheme]
        try:
            import fsspec

            self._fs: Any = fsspec.filesystem(scheme, use_listings_cache=False)
        except ImportError as error:
            raise ConfigError(f"'{uri}': the package {package} is not installed: pip install 'raybench[{extra}]'.") from error
        self._root = f"{bucket}/{prefix}"

    def names(self, folder: str = "") -> list[str]:
        """Names of all objects below a folder, sorted."""
        with self._refusals(folder, "listed"):
            self._fs.invalidate_cache()
            try:
                found = self._fs.find(self._path(folder))
            except FileNotFoundError:
                return []
        return sorted(path[len(self._root) + 1 :] for path in found if path.startswith(f"{self._root}/"))

    def details(self) -> dict[str, tuple[int, str]]:
        """Size and tag of all objects below the URI, by name: another content has another tag."""
        with self._refusals("", "listed"):
            self._fs.invalidate_cache()
            found = self._fs.find(self._root, detail=True)
        tags = ("ETag", "etag", "generation")
        return {path[len(self._root) + 1 :]: (int(e["size"]), str(next((e[t] for t in tags if t in e), ""))) for path, e in found.items()}

    def entries(self) -> list[str]:
        """Names directly below the URI, sorted; those that have objects below them with a slash behind."""
        with self._refusals("", "listed"):
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(self._root, detail=True)
            except FileNotFoundError:
                return []
        return sorted(e["name"][len(self._root) + 1 :].rstrip("/") + "/" * (e["type"] == "directory") for e in found)

    def read(self, name: str) -> bytes:
        """The content of an object."""
        with self._refusals(name, "read"):
            data: bytes = self._fs.cat_file(self._path(name))
            return data

    def create(self, name: str, data: bytes | memoryview) -> bool:
        """Make an object; False, with nothing changed, where there is one of that name."""
        with self._refusals(name, "created"):
            for number in range(_TRIES):
                try:
                    self._fs.pipe_file(self._path(name), bytes(data), mode="create")
                    return True
                except OSError as error:
                    status = _status(error)
                    if isinstance(error, FileExistsError) or status == 412:
                        return False
                    if status != 409 or number == _TRIES - 1:  # S3: somebody else writes the same name in this moment
                        raise
        return False

    def put(self, name: str, data: bytes | Path) -> None:
        """Make an object or replace it; a file is streamed."""
        with self._refusals(name, "written"):
            if isinstance(data, Path):
                self._fs.put_file(str(data), self._path(name))
            else:
                self._fs.pipe_file(self._path(name), data)

    def get(self, files: Mapping[str, Path]) -> None:
        """Bring objects into files, many at once."""
        with self._refusals(next(iter(files), ""), "read"):
            self._fs.get([self._path(name) for name in files], [str(path) for path in files.values()])

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects, many at once; what is not there is no error."""
        paths = [self._path(name) for name in names]
        with self._refusals(paths[0] if paths else "", "deleted"):
            try:
                if paths:
                    self._fs.rm(paths)
            except FileNotFoundError:
                pass

    def copy(self, names: Iterable[str], target: str) -> None:
        """Copy objects to another URI of the same store, inside it."""
        other = Objects(target)
        names = list(names)
        with self._refusals(target, "written"):
            self._fs.copy([self._path(name) for name in names], [other._path(name) for name in names])

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    @contextmanager
    def _refusals(self, name: str, what: str) -> Iterator[None]:
        """Whatever a store's library raises becomes a StorageError: their kinds share no base but Exception."""
        try:
            yield
        except Exception as error:
            text = " ".join(str(error).split())[:300] or type(error).__name__
            raise StorageError(
                f"{self.uri}: {name or 'the folder'} cannot be {what}: {text}. Check the address, the credentials and the network, then run the "
                "same command again: what is committed is kept."
            ) from error


def _status(error: OSError) -> int | None:
    """The HTTP status behind an error of s3fs, which keeps botocore's as the cause."""
    response = getattr(error.__cause__, "response", None) or {}
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status if isinstance(status, int) else None
