"""What a process did with its records, in numbers."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

__all__ = ["FileStats", "Stats", "add_up"]


class FileStats(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one log in this process since it began, in records unless it says otherwise."""

    accepted: int = 0
    """Events whose call returned True, and the records that tell of drops."""
    written: int = 0
    """Those of them that are in the log file."""
    dropped: int = 0
    """Events that were refused or lost."""
    cut: int = 0
    """Events of which a text was too long and is marked as cut."""
    recovered: int = 0
    """Records of dead processes that this process brought into the log."""
    pending_bytes: int = 0
    """Bytes in the ring that are not in the log yet."""
    durable: bool = True
    """Whether what is accepted survives the death of the process."""
    rotations: int = 0
    errors: int = 0
    """Attempts to write that failed; what they were to write is tried again."""


class Stats(FileStats, frozen=True, kw_only=True):
    """The sums over all logs of the process; `durable` if each of them is."""

    files: dict[str, FileStats] = {}
    """By file name, such as ``openrouter-costs.jsonl``."""


def add_up(files: Mapping[str, FileStats]) -> Stats:
    """The sums over *files*."""
    names = [field.name for field in msgspec.structs.fields(FileStats) if field.name != "durable"]
    sums = {name: sum(getattr(file, name) for file in files.values()) for name in names}
    return Stats(**sums, durable=all(file.durable for file in files.values()), files=dict(files))
