"""The segments of a log: their names, and when a new one is due.

A name, once given, never changes: shippers and reports can remember it. Only gzip adds its suffix.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from typing import NamedTuple

__all__ = [
    "Rotation",
    "Segment",
    "closed_segments",
    "is_segment",
    "last_segment_number",
    "logs",
    "segment_name",
    "segments",
]

_FILE = re.compile(r"(.+?)(-\d{8}T\d{6}Z-\d+)?(\.jsonl|\.log)(?(2)(\.gz)?)")
_PERIODS = {"hour": 3600, "midnight": 86400}


class Rotation(NamedTuple):
    """When a file becomes a segment: beyond *size* bytes, or at a turn of the clock (UTC); 0 and None: never."""

    size: int = 0
    when: str | None = None

    def is_due(self, size: int, more: int, written: float, since: int, now: float) -> bool:
        """Whether *more* bytes belong to a new file.

        The file has *size* bytes, the last of which were *written* (seconds since 1970, as is *now*). *since*: the
        period (see `period`) for which a file was last begun. Of either, what lies ahead by more than a period says
        nothing: the clock was wrong then.
        """
        if not size:
            return False
        if self.size and size + more > self.size:
            return True
        this = self.period(now)
        known = (period for period in (since, self.period(written)) if period <= this + 1)
        return self.when is not None and this > max(known, default=0)

    def period(self, seconds: float) -> int:
        """The number of the hour or day since 1970; 0 where nothing turns."""
        return int(seconds) // _PERIODS[self.when] if self.when else 0


class Segment(NamedTuple):
    """A closed file of a log."""

    number: int
    path: str
    is_compressed: bool


def segment_name(name: str, number: int) -> str:
    """The name of the segment of the log *name* that is closed now, in UTC."""
    stem, suffix = os.path.splitext(name)
    return f"{stem}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{number:06d}{suffix}"


def segments(folder: str, name: str) -> list[str]:
    """The files of the log *name* in *folder*, oldest first, the one still written to last."""
    paths = {}
    for segment in sorted(closed_segments(folder, name)):
        # A plain one beside its compressed copy sorts before it. Another host's of that number has another name.
        paths[segment.path.removesuffix(".gz")] = segment.path
    active = os.path.join(folder, name)
    return [*paths.values(), *([active] if os.path.exists(active) else [])]


def logs(folder: str) -> list[str]:
    """The names of the logs in *folder*, also of those of which only segments are left. Raises `OSError`."""
    return sorted({match[1] + match[3] for name in os.listdir(folder) if (match := _FILE.fullmatch(name))})


def last_segment_number(folder: str, name: str) -> int:
    """The highest number of a segment in *folder*, 0 if there is none."""
    return max((segment.number for segment in closed_segments(folder, name)), default=0)


def closed_segments(folder: str, name: str) -> Iterator[Segment]:
    """All segments of the log *name*. By the whole name, never by a prefix: ``llm`` is not ``llm-inference``."""
    pattern = _pattern(name)
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    for found in names:
        if match := pattern.fullmatch(found):
            yield Segment(int(match[1]), os.path.join(folder, found), bool(match[2]))


def is_segment(name: str, file_name: str) -> bool:
    """Whether *file_name* is that of a segment of the log *name*."""
    return _pattern(name).fullmatch(file_name) is not None


def _pattern(name: str) -> re.Pattern[str]:
    stem, suffix = map(re.escape, os.path.splitext(name))
    return re.compile(rf"{stem}-\d{{8}}T\d{{6}}Z-(\d+){suffix}(\.gz)?")
