from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_ring import SIZE, fill

from cipherlog_core import _logfile
from cipherlog_core._filesystem import boot_id
from cipherlog_core._folders import Folders
from cipherlog_core._ledger import Entry, Ledger
from cipherlog_core._logfile import LogFile
from cipherlog_core._ring import HEAD, TAIL, Ring
from cipherlog_core._rotation import Rotation, segments

BATCH = b"first line\nsecond line\n"
OLD = b"an older line\n"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LogFile]:
    log = LogFile(Folders.of(str(tmp_path)), "app.jsonl")
    yield log
    log.close()


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Ring]:
    (tmp_path / ".spool").mkdir()
    ring = Ring.create(str(tmp_path / ".spool"), "app.jsonl", SIZE)
    fill(ring, BATCH)
    yield ring
    ring.close()


def content(log: LogFile) -> bytes:
    return b"".join(Path(path).read_bytes() for path in segments(log.folders.logs, log.name))


def test_a_batch_moves_once(log: LogFile, ring: Ring) -> None:
    """What was moved is in the file, private to its user, and no longer in the ring."""
    assert log.move(ring) == len(BATCH)
    assert log.move(ring) == 0

    assert (content(log), ring.pending, log.commits) == (BATCH, 0, 1)
    assert os.stat(log.path).st_mode & 0o777 == 0o600


def died_in_the_middle(log: LogFile, ring: Ring, written: int) -> None:
    """Leave what a writer leaves that is killed when *written* bytes of its batch are in the file."""
    log.move(ring)
    ledger = log._ledger
    ring.words[HEAD] = ring.words[TAIL] = 0
    fill(ring, BATCH)
    Path(log.path).write_bytes(OLD)
    ledger.open_entry(Entry(os.stat(log.path).st_ino, len(OLD), 0, len(BATCH), boot_id(), ring.name))
    with open(log.path, "ab") as file:
        file.write(BATCH[:written])


@pytest.mark.parametrize("written", range(len(BATCH) + 1))
def test_the_next_holder_finishes_a_cut_batch(written: int, log: LogFile, ring: Ring) -> None:
    """However far a dead writer came, each line is in the file once and whole."""
    died_in_the_middle(log, ring, written)
    other = LogFile(log.folders, log.name)
    other.move(ring)
    other.close()

    assert (content(log), ring.pending) == (OLD + BATCH, 0)


@pytest.mark.parametrize("written", [0, 3, BATCH.index(b"\n") + 1, BATCH.index(b"\n") + 5, len(BATCH) - 1])
def test_a_batch_that_failed_is_written_once(written: int, log: LogFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a ring in memory, which the process that ends its line cannot reach: no whole line is there twice."""
    log.folders.make()
    mine, theirs = Ring.anonymous("app.jsonl", SIZE), Ring.create(log.folders.spool, "app.jsonl", SIZE)
    fill(mine, OLD)
    log.move(mine)
    fill(mine, BATCH)
    fill(theirs, b"theirs\n")
    write = os.write

    def fail(descriptor: int, data: bytes) -> int:
        monkeypatch.undo()
        write(descriptor, bytes(data)[:written])
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("os.write", fail)
    with pytest.raises(OSError, match="full"):
        log.move(mine)
    other = LogFile(log.folders, log.name)
    other.move(theirs)
    other.close()
    theirs.close()
    log.move(mine)

    lines = content(log).splitlines(keepends=True)
    assert [lines.count(line) for line in BATCH.splitlines(keepends=True)] == [1] * BATCH.count(b"\n")
    assert mine.pending == 0


def test_a_writer_that_died_behind_its_tail_is_done(log: LogFile, ring: Ring) -> None:
    """The tail tells that the batch is written: it is not written again."""
    died_in_the_middle(log, ring, len(BATCH))
    ring.words[TAIL] = len(BATCH)

    assert log.move(ring) == 0
    assert content(log) == OLD + BATCH


def test_a_cut_batch_whose_ring_is_gone_ends_its_line(log: LogFile, ring: Ring) -> None:
    """Without the ring nothing can be finished: the half line is ended, so that the next one is whole."""
    died_in_the_middle(log, ring, 15)
    other_ring = Ring.create(log.folders.spool, "app.jsonl", SIZE)
    fill(other_ring, b"from another\n")
    os.unlink(os.path.join(log.folders.spool, ring.name))

    log.move(other_ring)
    other_ring.close()
    assert content(log) == OLD + BATCH[:15] + b"\nfrom another\n"


def test_a_batch_that_another_hand_disturbed_is_written_again(log: LogFile, ring: Ring) -> None:
    """Bytes that are not the ring's are left alone, behind a line end of their own."""
    died_in_the_middle(log, ring, 0)
    with open(log.path, "ab") as file:
        file.write(b"foreign")

    log.move(ring)
    assert content(log) == OLD + b"foreign\n" + BATCH


@pytest.mark.parametrize("room", [0, 1, 10, 12, len(BATCH) - 1])
def test_a_full_disk_delays_and_loses_nothing(
    room: int, log: LogFile, ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that fails, short or at once, is finished when there is room again."""

    def write(descriptor: int, data: memoryview) -> int:
        nonlocal room
        count = os.write(descriptor, data[:room])
        room -= count
        if not count:
            raise OSError(errno.ENOSPC, "No space left on device")
        return count

    monkeypatch.setattr(_logfile, "os", type("os", (), {**vars(os), "write": staticmethod(write)}))
    with pytest.raises(OSError, match="No space left"):
        log.move(ring)
    with pytest.raises(OSError, match="No space left"):
        log.move(ring)
    monkeypatch.undo()

    log.move(ring)
    assert (content(log), ring.pending) == (BATCH, 0)


def test_a_file_that_was_moved_away_is_made_anew(log: LogFile, ring: Ring) -> None:
    """Another program's rotation, or a deletion, is seen at the next batch."""
    log.move(ring)
    os.rename(log.path, f"{log.path}.moved")
    fill(ring, BATCH)
    log.move(ring)

    assert Path(log.path).read_bytes() == Path(f"{log.path}.moved").read_bytes() == BATCH


def test_a_lock_file_that_was_deleted_is_made_anew(log: LogFile, ring: Ring) -> None:
    """Two processes that lock two files would exclude nobody: each checks the path."""
    log.move(ring)
    lock = os.path.join(log.folders.spool, "app.jsonl.lock")
    os.unlink(lock)
    fill(ring, BATCH)
    log.move(ring)

    assert os.path.exists(lock)
    assert content(log) == BATCH * 2


@pytest.mark.parametrize("content_", [b"", b"\xff" * 4096, b"\xff" * 100, bytes(range(256)) * 16], ids=len)
@pytest.mark.parametrize("alive", [False, True])
def test_a_lock_file_full_of_garbage_stops_nothing(alive: bool, content_: bytes, log: LogFile, ring: Ring) -> None:
    """What a crash of the machine can leave there, and what somebody truncates: the log goes on."""
    if alive:
        log.move(ring)
        fill(ring, BATCH)
    with open(os.path.join(log.folders.spool, "app.jsonl.lock"), "wb") as file:
        file.write(content_)
    while ring.pending:
        log.move(ring)
    fill(ring, BATCH)
    log.move(ring)

    assert content(log).replace(b"\n\n", b"\n") == BATCH * (2 + alive)


def test_who_holds_the_lock_is_waited_for_until_the_deadline(log: LogFile, ring: Ring) -> None:
    """A lock that is taken ends the wait at the deadline, and moves nothing."""
    log.move(ring)
    other = LogFile(log.folders, log.name)
    fill(ring, BATCH)
    assert log._ledger.try_lock()

    assert other.move(ring, time.monotonic() + 0.02) == 0
    log._ledger.unlock()
    assert other.move(ring, time.monotonic()) == len(BATCH)
    other.close()


def test_a_frame_in_a_child_of_a_fork_does_not_go_on(log: LogFile, ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler may fork under the lock and return: the child has let go of all, the lock is the parent's."""
    died_in_the_middle(log, ring, 3)
    child = LogFile(log.folders, log.name)
    find, before = child._find_log, content(log)

    def forked(ledger: Ledger) -> None:
        child.abandon()
        find(ledger)

    monkeypatch.setattr(child, "_find_log", forked)
    with pytest.raises((OSError, ValueError)):
        child.move(ring)

    assert content(log) == before
    child.abandon()


def test_a_lock_file_that_cannot_be_read_can_be_deleted(
    log: LogFile, ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log goes on with the next one."""
    log.move(ring)
    pread, broken = os.pread, os.stat(log._ledger.path).st_ino

    def failing(descriptor: int, *args: int) -> bytes:
        if os.fstat(descriptor).st_ino == broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(descriptor, *args)

    monkeypatch.setattr(os, "pread", failing)
    fill(ring, BATCH)
    with pytest.raises(OSError, match="Input/output"):
        log.move(ring)
    os.rename(log._ledger.path, f"{log._ledger.path}.broken")  # deleted, but that its inode is not used again

    assert log.move(ring) == len(BATCH)
    assert content(log) == BATCH * 2


def test_rotation_gives_names_that_never_change(tmp_path: Path, ring: Ring) -> None:
    """Each closed segment keeps its name; numbers go on after those on disk, whoever deletes the lock file."""
    log = LogFile(Folders.of(str(tmp_path)), "app.jsonl", Rotation(len(BATCH)))
    for _ in range(3):
        log.move(ring)
        fill(ring, BATCH)
    os.unlink(os.path.join(log.folders.spool, "app.jsonl.lock"))
    log.move(ring)
    log.close()

    names = [os.path.basename(path) for path in segments(str(tmp_path), "app.jsonl")]
    assert [name.rpartition("-")[2] for name in names] == ["000001.jsonl", "000002.jsonl", "000003.jsonl", "app.jsonl"]
    assert (content(log), log.counts.rotations) == (BATCH * 4, 3)


def test_a_rename_that_fails_does_not_stop_the_log(tmp_path: Path, ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file grows beyond its size instead, and the rename is tried again later, not at each batch."""
    calls = []

    def rename(*paths: str) -> None:
        calls.append(paths)
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(_logfile, "os", type("os", (), {**vars(os), "rename": staticmethod(rename)}))
    log = LogFile(Folders.of(str(tmp_path)), "app.jsonl", Rotation(len(BATCH)))
    for _ in range(3):
        log.move(ring)
        fill(ring, BATCH)
    log.close()

    assert (content(log), len(calls), log.counts.failed_rotations) == (BATCH * 3, 1, 1)


def test_segments_are_found_by_their_whole_name(tmp_path: Path) -> None:
    """A log whose name begins like another's is not mistaken for it; order is by number, not by text."""
    names = [
        "llm-20261123T000000Z-000009.jsonl",
        "llm-20261123T000001Z-1000000.jsonl.gz",
        "llm-20261123T000000Z-000010.jsonl",
        "llm.jsonl",
    ]
    others = ["llm-inference.jsonl", "llm-inference-20261123T000000Z-000001.jsonl", "llm.jsonl.1", "xllm.jsonl"]
    for name in names + others:
        (tmp_path / name).touch()

    expected = [names[0], names[2], names[1], names[3]]
    assert [os.path.basename(path) for path in segments(str(tmp_path), "llm.jsonl")] == expected


def test_segments_of_one_number_are_all_found(tmp_path: Path) -> None:
    """Those of several hosts, brought into one folder; of a plain and a compressed one of the same name one is."""
    names = [
        "app-20261123T000000Z-000001.jsonl",
        "app-20261123T000007Z-000001.jsonl.gz",
        "app-20261123T000003Z-000002.jsonl",
    ]
    for name in [*names, names[1].removesuffix(".gz")]:
        (tmp_path / name).touch()

    assert [os.path.basename(path) for path in segments(str(tmp_path), "app.jsonl")] == names


@pytest.mark.parametrize("name", ["app.jsonl", "app.log"])
@pytest.mark.parametrize("alive", [False, True])
def test_an_unfinished_line_takes_no_record_with_it(alive: bool, name: str, tmp_path: Path, ring: Ring) -> None:
    """A tail that a loss of power cut, or another program wrote: what comes next stands on lines of its own."""
    log = LogFile(Folders.of(str(tmp_path)), name)
    if alive:
        log.move(ring)
        fill(ring, BATCH)
    with open(log.path, "ab") as file:
        file.write(b"half a li")
    log.move(ring)
    log.close()

    assert content(log) == BATCH * alive + b"half a li\n" + BATCH
