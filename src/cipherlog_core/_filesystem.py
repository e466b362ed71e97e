"""Which files can hold a memory mapping that never faults, and how to open files safely."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import sys

__all__ = ["allocate", "filesystem_of", "make_folder", "open_regular", "try_lock", "unlock"]

_MOUNTS = "/proc/self/mountinfo"

# A store into a mapping raises SIGBUS, which kills the process, when the file system cannot supply the page after
# all. These keep what posix_fallocate promised. zfs and network file systems do not, nor does btrfs, with or without
# copy on write: on a full disk the store reserves space first and hung there for good (Linux 6.18, NOCOW file).
_STEADY = {"ext2", "ext3", "ext4", "xfs", "tmpfs", "overlay"}


def filesystem_of(path: str, mounts: str) -> str:
    """The type of the file system that holds *path*, from the text of a mountinfo table; "" if unknown."""
    path = os.path.realpath(path)
    found, longest = "", -1
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), left.split(" ")[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest:  # a later mount on the same point hides the earlier one
            found, longest = right.split(" ")[0], len(point)
    return found


def allocate(descriptor: int, path: str, size: int) -> None:
    """Give the new, empty file behind *descriptor* its blocks, so that no store into its mapping can fault.

    Raises `OSError` where the file system cannot promise that, or has no room.
    """
    if sys.platform == "darwin":  # no fallocate there: blocks come with the first write
        os.pwrite(descriptor, bytes(size), 0)
        return
    with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as table:
        kind = filesystem_of(path, table.read())
    if kind not in _STEADY:
        raise OSError(errno.ENOTSUP, f"a mapped file can fault on {kind or 'an unknown file system'}", path)
    os.posix_fallocate(descriptor, 0, size)


def make_folder(path: str) -> None:
    """Create *path* and what is missing above it, 0700 each; folders that exist keep their mode."""
    if not os.path.isdir(path):
        make_folder(os.path.dirname(path))
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            if not os.path.isdir(path):  # a file is in the way; else another process was faster
                raise


def open_regular(path: str, flags: int) -> int:
    """A descriptor of the regular file at *path*: never through a symlink, never waiting on a FIFO."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return descriptor


def try_lock(descriptor: int) -> bool:
    """Take the exclusive `flock` of an open file unless another open file has it.

    flock, not POSIX locks: those are dropped when the process closes any descriptor of the file.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(descriptor: int) -> None:
    """Release the `flock` of an open file."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
