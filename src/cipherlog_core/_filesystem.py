"""Which files can hold a memory mapping that never faults, and how to open and lock files safely."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from contextlib import suppress

try:
    import fcntl
except ModuleNotFoundError:  # no POSIX: no lock excludes another process, and no ring outlives its own
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "HAS_LOCKS",
    "allocate",
    "boot_id",
    "close",
    "filesystem_of",
    "is_file",
    "is_network",
    "is_own",
    "make_folder",
    "open_regular",
    "require_steady",
    "sync_folder",
    "try_lock",
    "unlock",
]

HAS_LOCKS = fcntl is not None
"""Whether processes can exclude each other from a file."""

_MOUNTS = "/proc/self/mountinfo"
_BOOT = "/proc/sys/kernel/random/boot_id"

# A store into a mapping raises SIGBUS, which kills the process, when the file system cannot supply the page after
# all. These keep what posix_fallocate promised. zfs and network file systems do not, nor does btrfs, with or without
# copy on write: on a full disk the store reserves space first and hung there for good (Linux 6.18, NOCOW file).
_STEADY = {"ext2", "ext3", "ext4", "xfs", "tmpfs", "overlay"}

_NETWORK = re.compile(r"nfs\d?|cifs|smb\w*|9p|afs|ceph|glusterfs|lustre|fuse(\..+)?|virtiofs|vboxsf")

_SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0)


def filesystem_of(path: str, mounts: str | None = None) -> str:
    """The type of the file system that holds *path*, from the text of a mountinfo table; "" if unknown."""
    if mounts is None:
        try:
            mounts = _read(_MOUNTS).decode("utf-8", "surrogateescape")
        except OSError:
            return ""
    try:
        path = os.path.realpath(path)
    except OSError:  # relative to a folder that is gone
        return ""
    found, longest = "", -1
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), left.split(" ")[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest:  # a later mount on the same point hides the earlier one
            found, longest = right.split(" ")[0], len(point)
    return found


def is_network(kind: str) -> bool:
    """Whether files on a file system of this *kind* may be shared with other machines, and locks on them may not."""
    return _NETWORK.fullmatch(kind) is not None


def require_steady(folder: str) -> None:
    """Raise `OSError` if *folder* cannot hold a mapped file into which no store can fault."""
    if not HAS_LOCKS:
        raise OSError(errno.ENOTSUP, "this system has no lock that tells whether a ring's owner lives")
    kind = filesystem_of(folder)
    if sys.platform != "darwin" and kind not in _STEADY:
        raise OSError(errno.ENOTSUP, f"a mapped file can fault on {kind or 'an unknown file system'}")


def allocate(descriptor: int, size: int) -> None:
    """Give the new, empty file behind *descriptor* its blocks. Raises `OSError` where there is no room."""
    if sys.platform == "darwin":  # no fallocate there: blocks come with the first write
        os.pwrite(descriptor, bytes(size), 0)
    else:
        os.posix_fallocate(descriptor, 0, size)


_boot = bytes(16)


def _read(path: str) -> bytes:
    """The content of a file of the kernel's. Not by `open`: that is gone when the last finalisers log."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return b"".join(iter(lambda: os.read(descriptor, 1 << 16), b""))
    finally:
        close(descriptor)


def boot_id() -> bytes:
    """16 bytes that are others after the machine has been started anew; zeros where that cannot be told."""
    global _boot
    if not any(_boot):  # where no descriptor was left, the next caller may have more luck
        with suppress(OSError, ValueError):
            _boot = bytes.fromhex(_read(_BOOT).decode("ascii").strip().replace("-", ""))
    return _boot


def make_folder(path: str, mode: int = 0o700) -> None:
    """Create *path* and what is missing above it with *mode*, whatever the umask; folders that exist keep theirs.

    What root makes belongs to the owner of the folder that it is in, as files do.
    """
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path, below = os.path.dirname(path), path
        if path == below:
            break
    for folder in reversed(missing):
        try:
            os.mkdir(folder, mode)
        except FileExistsError:
            if not os.path.isdir(folder):  # a file is in the way; else another process was faster
                raise
        else:
            made = stat.S_IMODE(os.stat(folder).st_mode)
            if mode & ~made:
                with suppress(OSError):  # not everywhere can a mode be set
                    os.chmod(folder, made | mode)
            with suppress(OSError):
                _give_folder(folder)


def _give_folder(path: str) -> None:
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        descriptor = os.open(
            path, os.O_RDONLY | os.O_DIRECTORY | _SAFE
        )  # a link may be there by now, to another's file
        try:
            _give(path, descriptor)
        finally:
            close(descriptor)


def _give(path: str, descriptor: int) -> None:
    """Have what root made at *path* belong to who logs there."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        folder = os.stat(os.path.dirname(path) or ".")
        if folder.st_uid:
            os.fchown(descriptor, folder.st_uid, folder.st_gid)


def is_own(path: str, beside: str) -> bool:
    """Whether the folder *path*, where there is one, is no symlink and belongs to somebody to be trusted.

    That is this user, root, and the owner of the folder that it is in or of the folder *beside*.
    """
    try:
        status = os.lstat(path)
    except OSError:  # who goes on to use it is told why it cannot be
        return True
    if stat.S_ISLNK(status.st_mode) or not hasattr(os, "geteuid"):
        return not stat.S_ISLNK(status.st_mode)
    owners = {0, os.geteuid()}
    for folder in (os.path.dirname(path), beside):
        with suppress(OSError):
            owners.add(os.stat(folder).st_uid)
    return status.st_uid in owners


def open_regular(path: str, flags: int, mode: int = 0o600, *, may_be_linked: bool = False) -> int:
    """A descriptor of the regular file at *path*: never through a symlink, never waiting on a FIFO.

    A new file has *mode*, whatever the umask. Raises `OSError`, also for a file to be written that belongs neither to
    this user, nor to root, nor to the owner of the folder, or (EMLINK) has a second name, a hard link, unless it
    *may_be_linked*.
    """
    descriptor = _create(path, flags, mode) if flags & os.O_CREAT else None
    while descriptor is None:
        try:
            descriptor = os.open(path, flags & ~os.O_CREAT | _SAFE | _BINARY)
        except FileNotFoundError:
            if not flags & os.O_CREAT:
                raise
            descriptor = _create(path, flags, mode)
    try:
        _check(path, os.fstat(descriptor), flags & (os.O_WRONLY | os.O_RDWR), may_be_linked=may_be_linked)
    except OSError:
        close(descriptor)
        raise
    return descriptor


def _check(path: str, status: os.stat_result, to_write: int, *, may_be_linked: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)
    if not to_write or not hasattr(os, "geteuid"):
        return
    if status.st_uid not in (os.geteuid(), 0) and status.st_uid != os.stat(os.path.dirname(path) or ".").st_uid:
        raise OSError(errno.EPERM, f"belongs to another user ({status.st_uid})", path)
    if status.st_nlink > 1 and not may_be_linked:
        raise OSError(errno.EMLINK, "a hard link: what is written here would be in another file, too", path)


def _create(path: str, flags: int, mode: int) -> int | None:
    """A new file at *path*; None if there is one, and *flags* are content with that."""
    try:
        descriptor = os.open(path, flags | _SAFE | _BINARY | os.O_EXCL, mode)
    except FileExistsError:
        if flags & os.O_EXCL:
            raise
        return None
    try:
        if hasattr(os, "fchmod"):
            os.fchmod(descriptor, mode)
        _give(path, descriptor)
    except OSError:  # the file is there, and will be opened by the next try
        close(descriptor)
        raise
    return descriptor


def close(descriptor: int) -> None:
    """Close a *descriptor*. One that cannot be closed is closed all the same, and what failed was told by `write`."""
    try:
        os.close(descriptor)
    except OSError:
        return


def is_file(descriptor: int, file: os.stat_result) -> bool:
    """Whether *descriptor* is still that of *file*: a program that closes all there are gives its number to another."""
    try:
        return os.path.samestat(os.fstat(descriptor), file)
    except OSError as error:
        return error.errno != errno.EBADF


def sync_folder(folder: str) -> None:
    """Have on disk which files are in *folder*, where that can be."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # not everywhere can a folder be opened
        return
    try:
        os.fsync(descriptor)
    except OSError:
        return
    finally:
        close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Take the exclusive `flock` of an open file unless another open file has it.

    flock, not POSIX locks: those are dropped when the process closes any descriptor of the file.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(descriptor: int) -> None:
    """Release the `flock` of an open file."""
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
