"""For programs that read logs: which files hold a log, and how to have in them what dead processes left behind."""

from __future__ import annotations

from cipherlog_core import _recover
from cipherlog_core._folders import Folders
from cipherlog_core._recover import Recovered
from cipherlog_core._rotation import segments

__all__ = ["Recovered", "recover", "segments"]


def recover(folder: str, spool_dir: str | None = None) -> Recovered:
    """Move the lines of every dead process's ring of the logs in *folder* to them. Appends only; never rotates.

    *spool_dir* as in the `Settings` of those processes. Safe at any time, from any process, also twice at once. Raises
    `OSError` where the disk does not let it.
    """
    return _recover.recover(Folders.of(folder, spool_dir))
