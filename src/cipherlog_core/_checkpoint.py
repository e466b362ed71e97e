"""How far the logs of a folder are shipped: read by the archiver too, which deletes nothing that is still needed."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress

import msgspec

from cipherlog_core._filesystem import make_folder, open_regular
from cipherlog_core._folders import Folders

__all__ = ["HEAD", "Position", "head_of", "load", "path_of", "save", "shipped_to"]

_VERSION = 1
HEAD = 256  # bytes of a file's beginning that tell it from others: a record's id is among them


class Position(msgspec.Struct, frozen=True):
    """All segments up to the number *after* are shipped, and *offset* bytes of the next file.

    It holds whatever the file is called: the log itself, its segment, its compressed segment.
    """

    after: int = 0
    offset: int = 0
    head: str = ""
    """Digest of the first *measured* bytes of that next file: whether it is still the same."""
    measured: int = 0
    end: int = 0
    """Where a batch ends that some signals have delivered, and others not; 0: there is none."""
    delivered: tuple[str, ...] = ()
    """Those that have."""


class _File(msgspec.Struct):
    version: int
    logs: dict[str, Position]


def head_of(data: bytes) -> str:
    """The digest of a file's first bytes."""
    return hashlib.sha256(data).hexdigest()[:32]


def load(folders: Folders) -> dict[str, Position]:
    """The position in each log; empty where nobody ships. Raises `OSError`; `ValueError` for no checkpoint."""
    try:
        descriptor = open_regular(path_of(folders), os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    with os.fdopen(descriptor, "rb") as file:
        found = msgspec.json.decode(file.read(), type=_File)
    if found.version != _VERSION or not all(map(_is_possible, found.logs.values())):
        raise ValueError(f"of version {found.version}, or of places that cannot be")
    return found.logs


def _is_possible(position: Position) -> bool:
    reached = max(position.offset, position.end)
    return (
        min(position.after, position.offset, position.end) >= 0
        and position.measured == min(HEAD, reached)
        and len(position.head) == (32 if reached else 0)
    )


def save(folders: Folders, positions: dict[str, Position]) -> None:
    """Replace the checkpoint, in one step and safe from a loss of power. Raises `OSError`."""
    make_folder(folders.spool)
    path = path_of(folders)
    unfinished = f"{path}.tmp"
    with suppress(FileNotFoundError):  # of one who was killed
        os.unlink(unfinished)
    with os.fdopen(open_regular(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
        file.write(msgspec.json.encode(_File(_VERSION, positions)))
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def shipped_to(folders: Folders, name: str) -> int | None:
    """The number of the last segment of the log *name* that is shipped; None where nobody ships it."""
    try:
        position = load(folders).get(name)
    except (OSError, ValueError):  # the shipper begins anew, and tells
        return 0
    return None if position is None else position.after


def path_of(folders: Folders) -> str:
    """Where the checkpoint is."""
    return os.path.join(folders.spool, "ship.json")
