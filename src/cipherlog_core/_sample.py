"""Which of many alike records are written: one in N, and for one session all or none."""

from __future__ import annotations

import itertools
import zlib

__all__ = ["is_kept"]

_count = itertools.count().__next__


def is_kept(session_id: str | None, one_in: int) -> bool:
    """Whether a record is one of those that are written, each of which stands for *one_in*.

    The same for all records of a session, in every process; without a session each Nth is kept.
    """
    if one_in <= 1:
        return True
    number = _count() if session_id is None else zlib.crc32(session_id.encode("utf-8", "backslashreplace"))
    return number % one_in == 0
