"""The names of a log's segments. A name, once given, never changes: shippers and reports can remember it."""

from __future__ import annotations

import os
import re
import time

__all__ = ["SUFFIX", "last_segment_number", "segment_name", "segments"]

SUFFIX = ".jsonl"


def segment_name(stem: str, number: int) -> str:
    """The name of the segment that is closed now, in UTC."""
    return f"{stem}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{number:06d}{SUFFIX}"


def segments(folder: str, stem: str) -> list[str]:
    """The files of the log *stem* in *folder*, oldest first, the one still written to last.

    By the whole name, never by a prefix: ``llm`` is not ``llm-inference``.
    """
    numbered = sorted((int(match[1]), match[0]) for match in _closed(folder, stem))
    active = stem + SUFFIX
    names = [name for _, name in numbered] + [active] * os.path.exists(os.path.join(folder, active))
    return [os.path.join(folder, name) for name in names]


def last_segment_number(folder: str, stem: str) -> int:
    """The highest number of a segment in *folder*, 0 if there is none."""
    return max((int(match[1]) for match in _closed(folder, stem)), default=0)


def _closed(folder: str, stem: str) -> list[re.Match[str]]:
    pattern = re.compile(rf"{re.escape(stem)}-\d{{8}}T\d{{6}}Z-(\d+){re.escape(SUFFIX)}(?:\.gz)?")
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [match for name in names if (match := pattern.fullmatch(name))]
