from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from test_ring import SIZE, fill

from cipherlog_core import _logfile
from cipherlog_core._folders import Folders
from cipherlog_core._logfile import LogFile
from cipherlog_core._ring import Ring
from cipherlog_core._rotation import Rotation, segments


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("when", "written", "now", "is_due"),
    [
        ("midnight", "2026-12-31T23:59:59.999", "2027-01-01T00:00:00", True),
        ("midnight", "2026-12-31T00:00:00", "2026-12-31T23:59:59.999", False),
        ("midnight", "2026-03-29T00:30:00", "2026-03-29T03:30:00", False),  # the clocks of Europe are changed
        ("hour", "2026-11-24T10:59:59", "2026-11-24T11:00:00", True),
        ("hour", "2026-11-24T10:00:00", "2026-11-24T10:59:59", False),
        ("hour", "2026-11-24T11:30:00", "2026-11-24T10:30:00", False),  # the clock was put back
        (None, "2026-11-24T10:59:59", "2027-11-24T11:00:00", False),
    ],
)
def test_a_turn_of_the_clock(when: str | None, written: str, now: str, is_due: bool) -> None:
    """In UTC, by the time of the last write: an old file is closed at the first line of a new period."""
    assert Rotation(0, when).is_due(100, 10, at(written), 0, at(now)) == is_due


@pytest.mark.parametrize("when", ["hour", "midnight"])
@pytest.mark.parametrize("ahead", ["since", "written"])
def test_a_clock_that_was_ahead_ends_no_rotation(ahead: str, when: str) -> None:
    """What it left, in the ledger or as the time of a file, is passed over: no turn is missed, and none seen twice."""
    rotation = Rotation(0, when)
    now, wrong = at("2026-11-24T11:00:00"), at("2027-11-24T11:00:00")
    later = now + (3600 if when == "hour" else 86400)

    def is_due(written: float, since: float, now: float) -> bool:
        if ahead == "since":
            return rotation.is_due(100, 10, written, rotation.period(wrong), now)
        return rotation.is_due(100, 10, wrong, rotation.period(since), now)

    assert [is_due(now, now, now), is_due(now, now, later), is_due(later, later, later)] == [False, True, False]


def test_an_empty_file_is_never_closed() -> None:
    """Neither by size nor by time."""
    assert not Rotation(1, "hour").is_due(0, 1000, 0.0, 0, at("2026-11-24T11:00:00"))


class Clock:
    """The time that a log sees."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = folder / "app.jsonl"
        self.now = at("2026-11-24T23:59:58")
        fake = type("time", (), {**vars(time), "time": staticmethod(lambda: self.now)})
        monkeypatch.setattr(_logfile, "time", fake)

    def stamp(self) -> None:
        """Give the file the time of its last write."""
        os.utime(self.path, (self.now, self.now))


def test_one_segment_a_period(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many processes see the turn, and however many batches follow it."""
    clock = Clock(tmp_path, monkeypatch)
    (tmp_path / ".spool").mkdir()
    ring = Ring.create(str(tmp_path / ".spool"), "app.jsonl", SIZE)
    logs = [LogFile(Folders.of(str(tmp_path)), "app.jsonl", Rotation(0, "midnight")) for _ in range(2)]
    for second in range(6):  # from two seconds before midnight to four after it
        for log in logs:
            fill(ring, b"%d\n" % second)
            log.move(ring)
            clock.stamp()
        clock.now += 1
    for log in logs:
        log.close()
    ring.close()

    closed, active = (Path(path).read_text().split() for path in segments(str(tmp_path), "app.jsonl"))
    assert closed == ["0", "0", "1", "1"]
    assert active == ["2", "2", "3", "3", "4", "4", "5", "5"]
    assert [log.counts.rotations for log in logs] == [1, 0]


def test_a_turn_whose_rename_fails_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file grows on, and is closed as soon as that can be done."""
    clock = Clock(tmp_path, monkeypatch)
    (tmp_path / ".spool").mkdir()
    ring = Ring.create(str(tmp_path / ".spool"), "app.jsonl", SIZE)
    log = LogFile(Folders.of(str(tmp_path)), "app.jsonl", Rotation(0, "midnight"))

    def move(line: bytes) -> None:
        fill(ring, line)
        log.move(ring)
        clock.stamp()

    def refuse(*_: str) -> None:
        raise PermissionError

    move(b"before\n")
    clock.now += 10
    with monkeypatch.context() as patch:
        patch.setattr(_logfile, "os", type("os", (), {**vars(os), "rename": staticmethod(refuse)}))
        move(b"turn\n")
    log._rotate_from = 0.0
    move(b"after\n")
    log.close()
    ring.close()

    assert [Path(path).read_text() for path in segments(str(tmp_path), "app.jsonl")] == ["before\nturn\n", "after\n"]
    assert (log.counts.rotations, log.counts.failed_rotations) == (1, 1)
