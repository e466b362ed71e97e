from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_ring import SIZE

from cipherlog_core._folders import Folders
from cipherlog_core._logfile import LogFile
from cipherlog_core._ring import Ring
from cipherlog_core._spool import _ASIDE, Spool, _Tally

PATIENCE = 0.05
LINE = b"x" * 1023 + b"\n"


class Opened(Spool):
    """A spool with a ring of 1 MiB and no writer: what is moved, is moved by the test or by a helping call."""

    def __init__(self, folder: Path, patience: float = PATIENCE) -> None:
        self.wakes = 0
        self.folder = folder
        self.patience = patience
        super().__init__("app.jsonl", self.open, self.count_wake)

    def open(self, _spool: Spool) -> bool:
        log = LogFile(Folders.of(str(self.folder)), "app.jsonl")
        (self.folder / ".spool").mkdir(exist_ok=True)
        self.attach(Ring.create(log.folders.spool, "app.jsonl", SIZE), log, self.patience)
        return True

    def count_wake(self) -> None:
        self.wakes += 1

    def close(self) -> None:
        for resource in self.detach():
            if resource is not None:
                resource.close()

    def content(self) -> list[bytes]:
        assert self.drain(time.monotonic() + 5)
        return (self.folder / "app.jsonl").read_bytes().splitlines(keepends=True)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Opened]:
    spool = Opened(tmp_path)
    yield spool
    spool.close()


def blocked(spool: Opened) -> LogFile:
    """Another holder of the file's lock, who never lets go."""
    other = LogFile(Folders.of(str(spool.folder)), "app.jsonl")
    other.move(spool.ring)
    assert other._ledger.try_lock()
    return other


def fill_up(spool: Opened) -> int:
    count = 0
    while spool.pending + len(LINE) <= SIZE:
        assert spool.append(LINE)
        count += 1
    return count


def test_lines_come_out_as_they_went_in(spool: Opened) -> None:
    """In order, over the end of the ring, from a buffer that is used again."""
    buffer = bytearray()
    expected = []
    for number in range(5000):
        buffer[:] = b"%d %b\n" % (number, b"y" * (number * 7 % 900))
        expected.append(bytes(buffer))
        assert spool.append(buffer)

    assert spool.content() == expected
    assert (spool.accepted, spool.dropped, spool.pending) == (5000, 0, 0)


def test_the_writer_is_woken_at_half_full(spool: Opened) -> None:
    """Below that nobody is woken: a wake costs more than the event."""
    while spool.pending + len(LINE) <= SIZE // 2:
        spool.append(LINE)
    assert spool.wakes == 0
    spool.append(LINE)
    assert spool.wakes == 1


def test_the_first_line_after_a_long_sleep_wakes_the_writer(spool: Opened) -> None:
    """And no other: a wake costs twenty times what a line does."""
    spool.append(LINE)
    spool.doze()
    assert spool.wakes == 0
    for _ in range(5):
        spool.append(LINE)

    assert spool.wakes == 1
    assert spool.content() == [LINE] * 6


def test_a_full_ring_is_helped_by_the_caller(spool: Opened) -> None:
    """A call that finds no room moves a batch itself and goes on."""
    count = fill_up(spool)
    assert spool.append(LINE)

    assert spool.content() == [LINE] * (count + 1)
    assert spool.dropped == 0


def test_one_call_waits_and_then_all_drop_at_once(spool: Opened) -> None:
    """With a file that cannot be written, one call waits for the patience, the others for nothing."""
    fill_up(spool)
    other = blocked(spool)
    fill_up(spool)
    start = time.monotonic()
    assert not spool.append(LINE)
    first, start = time.monotonic() - start, time.monotonic()
    kept = [spool.append(LINE) for _ in range(1000)]
    rest = time.monotonic() - start
    other.close()

    assert first >= PATIENCE
    assert rest < first * 10
    assert not any(kept)
    assert spool.dropped == 1001


def test_after_a_batch_has_moved_calls_wait_again(spool: Opened) -> None:
    """Dropping at once ends when somebody makes room."""
    fill_up(spool)
    other = blocked(spool)
    fill_up(spool)
    spool.append(LINE)
    other.close()
    spool.move(time.monotonic() + 1)

    assert spool.append(LINE)


def test_without_patience_a_full_ring_drops_at_once(tmp_path: Path) -> None:
    """0 means that no call ever waits or writes."""
    spool = Opened(tmp_path, patience=0)
    fill_up(spool)
    start = time.monotonic()
    assert not spool.append(LINE)

    assert time.monotonic() - start < PATIENCE
    assert (spool.dropped, spool.pending) == (1, SIZE)
    spool.close()


def test_drops_are_reported_once_there_is_room(spool: Opened) -> None:
    """One line tells how many, since when and why; the next report counts from there."""
    fill_up(spool)
    other = blocked(spool)
    fill_up(spool)
    spool.append(LINE)
    spool.append(LINE)
    other.close()
    told = []

    def describe(*facts: object) -> bytes:
        told.append(facts)
        return b"dropped\n"

    spool.report_drops(describe)
    spool.move(time.monotonic() + 1)
    spool.report_drops(describe)
    spool.report_drops(describe)

    assert [(count, reason) for count, _since, reason in told] == [(2, "full"), (2, "full")]
    assert spool.content()[-1] == b"dropped\n"


def test_a_nested_call_goes_aside_and_is_moved_on(spool: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler or finaliser that logs while its thread logs takes no lock; its line follows."""
    inner = [b"nested 1\n", b"nested 2\n"]
    put = spool._put

    def interrupted(line: bytes) -> bool:
        while inner:
            assert spool.append(inner.pop(0))
        return put(line)

    monkeypatch.setattr(spool, "_put", interrupted)
    assert spool.append(b"outer\n")

    assert spool.content() == [b"outer\n", b"nested 1\n", b"nested 2\n"]


def test_too_many_nested_lines_are_dropped_and_counted(spool: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits aside is bounded."""
    put = spool._put

    def interrupted(line: bytes) -> bool:
        monkeypatch.setattr(spool, "_put", put)
        kept = [spool.append(b"nested\n") for _ in range(_ASIDE + 3)]
        assert kept == [True] * _ASIDE + [False] * 3
        return put(line)

    monkeypatch.setattr(spool, "_put", interrupted)
    spool.append(b"outer\n")

    assert len(spool.content()) == _ASIDE + 1
    assert spool.dropped == 3


def test_threads_lose_nothing(spool: Opened) -> None:
    """Each line of each thread is there once, with a ring that is full all the time."""
    spool.open(spool)

    def produce(name: int) -> None:
        for number in range(3000):
            assert spool.append(b"%d %d %b\n" % (name, number, b"z" * 500))

    threads = [threading.Thread(target=produce, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = sorted(tuple(map(int, line.split()[:2])) for line in spool.content())
    assert found == [(name, number) for name in range(4) for number in range(3000)]


def test_after_detach_the_next_line_opens_another_ring(spool: Opened) -> None:
    """Closing loses nothing that comes later."""
    spool.append(b"before\n")
    assert spool.content() == [b"before\n"]
    spool.close()
    spool.append(b"after\n")

    assert spool.content() == [b"before\n", b"after\n"]


def test_threads_that_read_the_drops_do_not_change_them() -> None:
    """Statistics and the writer look at once: a miscount told of a drop that never was."""
    tally = _Tally()
    tally.add()
    seen: set[int] = set()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=lambda: seen.update(tally.value for _ in range(5000))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)

    assert seen == {1}
