"""Where the parts of the logs of one folder are: the logs, their locks, their rings."""

from __future__ import annotations

import errno
import hashlib
import os
from typing import NamedTuple, Self

from cipherlog_core._filesystem import HAS_LOCKS, filesystem_of, is_network, is_own, make_folder

__all__ = ["JSON_SUFFIX", "TEXT_SUFFIX", "Folders", "not_durable", "not_trusted"]

JSON_SUFFIX, TEXT_SUFFIX = ".jsonl", ".log"


class Folders(NamedTuple):
    """The folder of some logs, and what belongs to it."""

    logs: str
    spool: str
    """Locks, ledgers, unfinished files; and rings, where the file system can hold them."""
    elsewhere: str | None
    """Where rings are kept if not there."""
    mode: int = 0o600
    """Of log files, closed and compressed ones, too."""

    @classmethod
    def of(cls, folder: str, spool_dir: str | None = None, mode: int = 0o600) -> Self:
        """Those of *folder*; *spool_dir* may serve several, so it gets a folder for each."""
        folder = _absolute(folder)
        elsewhere = None
        if spool_dir is not None:
            name = f"{os.path.basename(folder)}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"
            elsewhere = os.path.join(_absolute(spool_dir), name)
        return cls(folder, os.path.join(folder, ".spool"), elsewhere, mode)

    def make(self) -> None:
        """Create what is missing. Who may read the logs may look into their folder. Raises `OSError`."""
        readers = self.mode & 0o044
        make_folder(self.logs, 0o700 | readers | readers >> 2)
        self.make_own(self.spool)

    def make_own(self, rings: str) -> None:
        """Create the folder *rings* if it is missing. Raises `OSError` if a symlink or another user's is there."""
        make_folder(rings)
        if not is_own(rings, self.logs):
            raise OSError(errno.EPERM, "a symlink, or another user's: who owns it could read or exchange a ring", rings)

    @property
    def rings(self) -> list[str]:
        """The folders in which rings may be."""
        return [self.spool] if self.elsewhere is None else [self.spool, self.elsewhere]

    @property
    def own_rings(self) -> list[str]:
        """Those of them in which nobody else can have planted one."""
        return [folder for folder in self.rings if is_own(folder, self.logs)]


def _absolute(folder: str) -> str:
    try:
        return os.path.abspath(folder)
    except OSError:  # the working directory is gone: what is to be there cannot be opened either, and is told then
        return folder


def not_durable(folders: Folders, trouble: OSError) -> str:
    """What it means that no ring could be made in *folders*, and what to do."""
    place = f"no ring can be kept in {' or '.join(folders.rings)} ({trouble.strerror or trouble})"
    fate = "events wait for the disk in memory only, and a kill loses those."
    if not HAS_LOCKS:
        return f"{place}: {fate} Let one process alone write each log: nothing here keeps two apart."
    return f"{place}: {fate} Set LOG_SPOOL_DIR to a folder on a local disk, or LOG_DIR to another one."


def not_trusted(folders: Folders) -> str | None:
    """What it means that the logs are on a network's file system, and what to do; None if they are not."""
    kind = filesystem_of(folders.logs)
    if not is_network(kind):
        return None
    return (
        f"{folders.logs} is on {kind}, whose locks are not to be trusted: let one process alone write each log there, "
        "or set LOG_DIR to a folder on a local disk."
    )
