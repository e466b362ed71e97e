"""For programs that read logs: which files hold a log, and how to have in them what dead processes left behind."""

from __future__ import annotations

from cipherlog_core import _recover
from cipherlog_core._filesystem import filesystem_of, is_network, open_regular, require_steady
from cipherlog_core._folders import Folders
from cipherlog_core._inspect import RingState, ring_states
from cipherlog_core._recover import Recovered
from cipherlog_core._rotation import logs, segments
from cipherlog_core._settings import Choice

__all__ = [
    "Choice",
    "Folders",
    "Recovered",
    "RingState",
    "filesystem_of",
    "is_network",
    "logs",
    "open_regular",
    "recover",
    "require_steady",
    "ring_states",
    "segments",
]


def recover(folder: str, spool_dir: str | None = None, file_mode: str = "0600") -> Recovered:
    """Move the lines of every dead process's ring of the logs in *folder* to them. Appends only; never rotates.

    *spool_dir* and *file_mode* as in the `Settings` of those processes. Safe at any time, from any process, also twice
    at once. What cannot be moved is told in `Recovered.troubles`. Raises `OSError` where the folder cannot be read.
    """
    return _recover.recover(Folders.of(folder, spool_dir, int(file_mode, 8)))
