# SPDX-License-Identifier: Apache-2.0
"""What may be read: which arguments are sources, what they are called, which files a folder holds."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from k8stokendetect.errors import ConfigError, ReadError
from k8stokendetect.events import Event
from k8stokendetect.input.data_frames import has_rows


def check_source(source: Any, what: str = "audit events", kinds: tuple[type, ...] = (Event, Iterable)) -> None:
    """Raise ConfigError for what cannot be read.

    Arguments:
        source: a path, an open binary file, or one of `kinds`.
        what: is read from it, for the message.
        kinds: types of other sources.

    """
    if isinstance(source, io.TextIOBase):
        raise ConfigError("the file is open in text mode: open it with 'rb'")
    if isinstance(source, str) and source.lstrip()[:1] in {"{", "["}:
        raise ConfigError("a str is a path, and this looks like content: encode it to bytes")
    if isinstance(source, str | os.PathLike) and not os.fspath(source):
        raise ConfigError("the path is empty")
    is_kind = isinstance(source, (str, os.PathLike, *kinds)) or has_rows(source)
    if not is_kind and not callable(getattr(source, "read", None)):
        raise ConfigError(f"cannot read {what} from {type(source).__name__}")


def is_file(item: Any) -> bool:
    """Tell whether this is the path of an existing file."""
    return isinstance(item, os.PathLike) and os.path.isfile(item)  # noqa: PTH113 - Path.is_file raises for long names


def opened(path: Path) -> io.FileIO | ReadError:
    """Open a file; an error in its stead."""
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        reason = f"cannot be opened: {error.strerror}"
    except ValueError:  # a NUL byte in the name
        reason = "cannot be opened: not a file name"
    return ReadError(reason, str(path))


def name_of(source: Any) -> str:
    """Return the name of an open file, for origins and errors."""
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "<stream>"


def files_in(folder: Path) -> tuple[list[Path], list[ReadError]]:
    """Return every file below a folder but dot files, and an error for everything that cannot be read.

    Links to folders are followed, each folder once.
    """
    files, errors, seen = [], [], set()
    for parent, folders, names in os.walk(folder, onerror=lambda e: errors.append(_cannot_list(e)), followlinks=True):
        seen.add(os.path.realpath(parent))
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and os.path.realpath(Path(parent, name)) not in seen
        )
        for path in (Path(parent, name) for name in sorted(names) if not name.startswith(".")):
            if path.is_file():
                files.append(path)
            else:
                errors.append(ReadError("neither a file nor a folder, or a broken link", str(path)))
    return files, errors


def _cannot_list(error: OSError) -> ReadError:
    return ReadError(f"cannot be listed: {error.strerror}", str(error.filename))
