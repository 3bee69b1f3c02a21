# SPDX-License-Identifier: Apache-2.0
"""Reads from object stores and web servers through fsspec (the extra `remote`); credentials are never repeated."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from typing import Any, Final

from k8stokendetect.errors import ReadError
from k8stokendetect.input.pool import FilePool

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(?:::|://)")
_PASSWORD: Final = re.compile(r"(?<=://)[^/@]*:[^/@]*@|(?<=^http://)[^/@]*@|(?<=^https://)[^/@]*@")
"""Before an `@` stands who asks; `abfss://` has its container there."""

_GLOB: Final = re.compile(r"[*?\[]")
_WEB_GLOB: Final = re.compile(r"[*]")  # ? begins the query
_PACKAGES: Final = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("abfs", "abfss", "az", "adl"), "adlfs"),
    **dict.fromkeys(("http", "https"), "aiohttp"),
}
"""What fsspec needs for which paths (github.com/fsspec/filesystem_spec, fsspec/registry.py)."""

_BLOCK: Final = 2 * 1024 * 1024
"""Bytes that are fetched at a time; four such blocks of each open file are kept."""


def is_url(text: str, /) -> bool:
    """Tell a URL from a path; a Windows drive has one letter."""
    return _URL.match(text) is not None


def without_credentials(url: str, /) -> str:
    """Return a URL without user, password, query and fragment: a signature may stand there."""
    text, cut, _ = re.sub(r"#.*", "?", url, flags=re.DOTALL).partition("?")
    return _PASSWORD.sub("", text) + ("?…" if cut else "")


class Remote:
    """A file, a folder or a pattern of files in a store.

    Arguments:
        url: as fsspec takes it, such as `s3://logs/audit/`.

    Attributes:
        name: the URL without credentials.

    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.name = without_credentials(url)

    def __repr__(self) -> str:
        return f"Remote({self.name!r})"

    def files(self) -> tuple[list[RemoteFile], list[ReadError]]:
        """Return every file that is meant but dot files, in the order of their names, and an error where none is."""
        try:
            core = importlib.import_module("fsspec.core")
        except ImportError:
            return [], [ReadError("pip install 'k8stokendetect[remote]' to read it", self.name)]
        try:
            store, path = core.url_to_fs(self._url, **_options(self._url))
            found = _found(store, path)
        except Exception as error:  # noqa: BLE001 - each store has its own
            return [], [ReadError(self._reason(error), self.name)]
        files = [RemoteFile(store, name, self._name_of(store, name)) for name in sorted(found)]
        return files, [] if files else [ReadError("no such file, or an empty folder", self.name)]

    def _name_of(self, store: Any, path: str) -> str:
        return without_credentials(path if is_url(path) else store.unstrip_protocol(path))

    def _reason(self, error: Exception) -> str:
        protocol = re.split(r"::|://", self._url, maxsplit=1)[0].lower()
        package = _PACKAGES.get(protocol)
        if package is not None and importlib.util.find_spec(package) is None:
            return f"pip install {package} to read {protocol}:// paths"
        if isinstance(error, ImportError | ValueError):
            return f"fsspec knows no {protocol}:// paths, or a package for them is missing, or the URL is wrong"
        return f"cannot be opened: {reason_of(error)}"


def reason_of(error: BaseException, /) -> str:
    """Say what went wrong without the error's own words, which may repeat a URL and its credentials."""
    if type(error.__cause__).__module__.startswith("aiohttp"):  # fsspec calls every failure of the web "not found"
        error = error.__cause__ or error
    status = getattr(error, "status", None)
    if isinstance(error, PermissionError) or status in {401, 403}:
        return "access is denied"
    if isinstance(error, FileNotFoundError) or status == 404:  # noqa: PLR2004 - HTTP's "not found"
        return "no such file"
    return f"HTTP status {status}" if isinstance(status, int) else type(error).__name__


def _options(url: str) -> dict[str, Any]:
    """Return options for fsspec: what is encoded in a URL of the web stays as it is, or its signature is wrong."""
    return {"encoded": True} if _is_web(url) and re.search("[?%]", url) else {}


def _is_web(path: str) -> bool:
    return path.lower().startswith(("http://", "https://"))


def _found(store: Any, path: str) -> list[str]:
    """Return the paths of all files that are meant; raises whatever the store raises."""
    if not (_WEB_GLOB if _is_web(path) else _GLOB).search(path):
        return [path] if _is_web(path) else _below(store, path)
    dots = path.rpartition("/")[2].startswith(".")
    found: set[str] = set()
    for name, info in store.glob(path, detail=True).items():
        if dots or not name.rpartition("/")[2].startswith("."):
            found |= {name} if info.get("type") != "directory" else set(_below(store, name))
    return sorted(found)


def _below(store: Any, path: str) -> list[str]:
    """Return the files below a folder but dot files, or the one file of this name."""
    root = path.rstrip("/") + "/"
    return [
        name
        for name in map(str, store.find(path))
        if not any(part.startswith(".") for part in name.removeprefix(root).split("/")) or name == path
    ]


class RemoteFile:
    """A file in a store, which may be closed between two reads.

    Arguments:
        store: a file system of fsspec.
        path: in it.
        name: for origins, without credentials.

    """

    def __init__(self, store: Any, path: str, name: str) -> None:
        self._store = store
        self._path = path
        self.name = name

    def __str__(self) -> str:
        return self.name

    def open(self, pool: FilePool, /) -> OpenRemoteFile | ReadError:
        """Open it; an error where that is not possible."""
        try:
            return OpenRemoteFile(self._opened, self.name, pool)
        except Exception as error:  # noqa: BLE001 - each store has its own
            reason = f"cannot be opened: {reason_of(error)}"
        return ReadError(reason, self.name)

    def _opened(self) -> Any:
        if _is_web(self._path) and self._store.info(self._path).get("partial") is not True:
            return self._store.open(self._path, "rb", block_size=0)  # the server gives no parts
        return self._store.open(
            self._path, "rb", block_size=_BLOCK, cache_type="blockcache", cache_options={"maxblocks": 4}
        )


class OpenRemoteFile:
    """An open file in a store; one that can seek is closed and opened again as the pool wants it."""

    def __init__(self, opened: Callable[[], Any], name: str, pool: FilePool) -> None:
        self.name = name
        self._opened = opened
        self._pool = pool
        self._position = 0
        self._file = opened()
        self._can_seek = _can_seek(self._file)

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes; none at the end.

        Raises:
            ReadError: when the store fails.

        """
        try:
            if self._file is None:
                self._file = self._opened()
                self._file.seek(self._position)
            if self._can_seek:
                self._pool.use(self)
            data: bytes = self._file.read(size if size > 0 else 1 << 20)
        except Exception as error:  # noqa: BLE001 - each store has its own
            reason = f"cannot be read: {reason_of(error)}"
        else:
            self._position += len(data)
            return data
        raise ReadError(reason)

    def seekable(self) -> bool:
        """Tell whether any place of it can be read; some web servers send a file from its beginning only."""
        return self._can_seek

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._position

    def seek(self, position: int, whence: int = 0, /) -> int:
        """Let the next read begin elsewhere."""
        if self._file is None:
            self._file = self._opened()
        self._position = int(self._file.seek(position, whence))
        return self._position

    def close(self) -> None:
        """Close it; the next read goes on where the last one ended."""
        self._pool.forget(self)
        if self._file is not None:
            self._file.close()
            self._file = None


def _can_seek(file: Any) -> bool:
    try:
        return bool(file.seekable()) and file.seek(1) == 1 and file.seek(0) == 0
    except (OSError, ValueError):
        return False
