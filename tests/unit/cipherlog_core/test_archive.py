from __future__ import annotations

import asyncio
import gzip
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Logs

import cipherlog_core
from cipherlog_core import Settings, _archive
from cipherlog_core._archive import Archiver, Log, compress
from cipherlog_core._folders import Folders
from cipherlog_core._rotation import Segment, closed_segments, segments

CONTENT = b"a line\n" * 100_000


def segment(folder: Path, number: int, age: float = 3600.0, content: bytes = CONTENT) -> Segment:
    (folder / ".spool").mkdir(exist_ok=True)
    path = folder / f"app-20261124T000000Z-{number:06d}.jsonl"
    path.write_bytes(content)
    os.utime(path, (time.time() - age, time.time() - age))
    return Segment(number, str(path), is_compressed=False)


def names(folder: Path) -> list[str]:
    return sorted(path.name.removeprefix("app-20261124T000000Z-") for path in folder.glob("app-*"))


def wait_for(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def archived(folder: Path, settings: Settings, *closed: Segment) -> None:
    """Have an archiver do what there is to do."""
    archiver = Archiver(lambda: [Log(Folders.of(str(folder)), "app.jsonl", settings)])
    for one in closed:
        archiver.note_closed("app.jsonl", one.path)
    archiver._work(lambda: True)


def test_a_closed_segment_is_replaced_by_a_compressed_one(tmp_path: Path) -> None:
    """With the same content, time and privacy, and nothing unfinished left behind."""
    plain = segment(tmp_path, 1)
    before = os.stat(plain.path)
    compress(Folders.of(str(tmp_path)), plain)

    packed = Path(f"{plain.path}.gz")
    assert names(tmp_path) == ["000001.jsonl.gz"]
    assert gzip.decompress(packed.read_bytes()) == CONTENT
    assert (packed.stat().st_mtime_ns, packed.stat().st_mode & 0o777) == (before.st_mtime_ns, 0o600)
    assert list((tmp_path / ".spool").iterdir()) == []


KILLED = """
import os, signal, sys
from cipherlog_core import _archive, _filesystem
from cipherlog_core._folders import Folders
from cipherlog_core._rotation import Segment

after, path = sys.argv[1] == "after", sys.argv[2]

def counted(function):
    def call(*arguments, **options):
        global left
        left -= 1
        if not left:
            try:
                if after:
                    function(*arguments, **options)
            finally:
                os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call

for left in map(int, sys.stdin):
    pid = os.fork()
    if not pid:
        calls = ("open", "read", "write", "fsync", "utime", "rename", "unlink", "close")
        changed = {name: staticmethod(counted(getattr(os, name))) for name in calls}
        _archive.os = _filesystem.os = type("os", (), {**vars(os), **changed})
        _archive.compress(Folders.of(os.path.dirname(path)), Segment(1, path, is_compressed=False))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@contextmanager
def killing(how: str, plain: Segment) -> Iterator[Callable[[int], int]]:
    """Gives the exit code of a process that compresses a segment and dies *how* its system call of a number is done."""
    command = [sys.executable, "-c", KILLED, how, plain.path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout

        def killed_at_call(number: int) -> int:
            print(number, file=process.stdin, flush=True)
            return int(process.stdout.readline())

        yield killed_at_call


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_death_at_any_step_loses_nothing(how: str, tmp_path: Path) -> None:
    """Whatever is on disk then, a reader finds the content once, and the next round clears up."""

    def content() -> bytes:
        (path,) = segments(str(tmp_path), "app.jsonl")
        data = Path(path).read_bytes()
        return gzip.decompress(data) if path.endswith(".gz") else data

    number, code = 0, -signal.SIGKILL
    with killing(how, segment(tmp_path, 1)) as killed_at_call:
        while code == -signal.SIGKILL:
            for path in tmp_path.glob("app-*"):
                path.unlink()
            segment(tmp_path, 1)
            number += 1
            code = killed_at_call(number)
            assert content() == CONTENT
            archived(tmp_path, Settings())
            assert content() == CONTENT
            assert names(tmp_path) == ["000001.jsonl.gz"]
            assert list((tmp_path / ".spool").glob("*.tmp")) == []

    assert code == 0
    assert number > 15


def test_a_segment_stays_plain_for_a_while(tmp_path: Path) -> None:
    """So that whoever follows the log can finish it."""
    segment(tmp_path, 1, age=60)
    segment(tmp_path, 2, age=10)
    archived(tmp_path, Settings(gzip_after=30))
    assert names(tmp_path) == ["000001.jsonl.gz", "000002.jsonl"]
    archived(tmp_path, Settings(gzip_after=0))
    assert names(tmp_path) == ["000001.jsonl.gz", "000002.jsonl.gz"]


def test_without_gzip_nothing_is_compressed(tmp_path: Path) -> None:
    """``LOG_GZIP=false``."""
    segment(tmp_path, 1)
    archived(tmp_path, Settings(gzip=False))

    assert names(tmp_path) == ["000001.jsonl"]


def test_another_process_is_at_it(tmp_path: Path) -> None:
    """One compresses a log's segments; the others leave them to it."""
    segment(tmp_path, 1)
    log = Log(Folders.of(str(tmp_path)), "app.jsonl", Settings())
    with _archive._sole(log) as is_ours:
        assert is_ours
        archived(tmp_path, Settings())
        assert names(tmp_path) == ["000001.jsonl"]
    archived(tmp_path, Settings())

    assert names(tmp_path) == ["000001.jsonl.gz"]


@pytest.mark.parametrize(("backups", "kept"), [(2, [8, 9]), (1, [9]), (100, [*range(1, 10)]), (0, [*range(1, 10)])])
def test_the_newest_are_kept(backups: int, kept: list[int], tmp_path: Path) -> None:
    """By number, plain or compressed; another log's are left alone, and so is the active file."""
    every = [segment(tmp_path, number, age=0) for number in range(1, 10)]
    Path(f"{every[0].path}.gz").write_bytes(gzip.compress(CONTENT))
    (tmp_path / "app.jsonl").write_bytes(CONTENT)
    other = tmp_path / "app-two-20261124T000000Z-000001.jsonl"
    other.write_bytes(CONTENT)
    archived(tmp_path, Settings(backups=backups), every[-1])

    assert sorted({one.number for one in closed_segments(str(tmp_path), "app.jsonl")}) == kept
    assert other.exists()
    assert (tmp_path / "app.jsonl").exists()


def test_what_a_dead_archiver_left_is_cleared(tmp_path: Path) -> None:
    """Though its segment is gone; but not under the hands of one that lives."""
    one = segment(tmp_path, 1, age=0)
    unfinished = tmp_path / ".spool" / "app-20261124T000000Z-000000.jsonl.gz.tmp"
    others = tmp_path / ".spool" / "app-two-20261124T000000Z-000000.jsonl.gz.tmp"
    unfinished.touch()
    others.touch()
    with _archive._sole(Log(Folders.of(str(tmp_path)), "app.jsonl", Settings())):
        archived(tmp_path, Settings(), one)
        assert unfinished.exists()
    archived(tmp_path, Settings(), one)

    assert (unfinished.exists(), others.exists()) == (False, True)


def test_only_who_closed_a_segment_deletes(tmp_path: Path) -> None:
    """A process that merely looks leaves all of them."""
    for number in range(1, 10):
        segment(tmp_path, number, age=0)
    archived(tmp_path, Settings(backups=2))

    assert len(names(tmp_path)) == 9


def test_a_segment_that_cannot_be_compressed_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A full disk: no unfinished file takes room, and it is tried again."""
    segment(tmp_path, 1)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(_archive, "_write", full)
        with pytest.raises(OSError, match="No space"):
            archived(tmp_path, Settings())
    assert names(tmp_path) == ["000001.jsonl"]
    assert list((tmp_path / ".spool").glob("*.tmp")) == []
    archived(tmp_path, Settings())

    assert names(tmp_path) == ["000001.jsonl.gz"]


def test_the_whole_of_it(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A logging process closes, tells, compresses and deletes in a thread of its own; nothing is lost on the way."""
    told: list[tuple[str, str]] = []
    settings = Settings(
        dir=str(logs.folder),
        rotate_size=64 << 10,
        backups=0,
        gzip_after=0,
        on_segment_closed=lambda path: told.append((path, threading.current_thread().name)),
    )
    logger = cipherlog_core.start("app", settings=settings)
    for number in range(3000):
        logger.event("x", number=number, text="y" * 200)
        if not number % 100:
            cipherlog_core.flush()
    wait_for(lambda: len(told) >= 10 and not [*logs.folder.glob("app-*.jsonl")])

    assert [record["fields"]["number"] for record in logs.read("app")] == list(range(3000))
    assert {name for _, name in told} == {"cipherlog-archiver"}
    assert {path for path, _ in told} == {str(path).removesuffix(".gz") for path in logs.folder.glob("app-*")}
    assert cipherlog_core.stop()
    assert "cipherlog-archiver" not in {thread.name for thread in threading.enumerate()}


class Odd(Exception):
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("error", [ValueError, SystemExit, asyncio.CancelledError, Odd])
def test_a_function_that_raises_is_told(
    error: type[BaseException], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``on_segment_closed`` is the caller's: what it raises stops nothing."""
    monkeypatch.setattr("cipherlog_core._settings.notice._seen", set())

    def fail(path: str) -> None:
        raise error

    closed = segment(tmp_path, 1)
    archived(tmp_path, Settings(on_segment_closed=fail), closed)

    assert error.__name__ in caplog.text
    assert names(tmp_path) == ["000001.jsonl.gz"]


def test_a_segment_is_told_before_it_is_deleted_or_compressed(tmp_path: Path) -> None:
    """However many wait for a function that is slow."""
    every = [segment(tmp_path, number) for number in range(1, 10)]
    told = []
    settings = Settings(on_segment_closed=lambda path: told.append((path, os.path.exists(path))), backups=2)
    archived(tmp_path, settings, *every)

    assert told == [(one.path, True) for one in every]
    assert names(tmp_path) == ["000008.jsonl.gz", "000009.jsonl.gz"]


def test_a_segment_that_another_process_deletes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is left out, in silence, and the round goes on."""
    first, _ = segment(tmp_path, 1), segment(tmp_path, 2)
    due = _archive._due

    def due_then_deleted(log: Log) -> list[Segment]:
        found = due(log)
        os.unlink(first.path)
        return found

    monkeypatch.setattr(_archive, "_due", due_then_deleted)
    archived(tmp_path, Settings())

    assert names(tmp_path) == ["000002.jsonl.gz"]


def test_only_who_closes_a_segment_deletes_old_ones(logs: Logs) -> None:
    """Another process on the same log may keep more of them; to compress what is left over is anybody's."""
    logs.folder.mkdir()
    for number in range(1, 10):
        segment(logs.folder, number)
    settings = Settings(dir=str(logs.folder), backups=3, rotate_size=4 << 10)
    logger = cipherlog_core.start("app", settings=settings)
    wait_for(lambda: all(name.endswith(".gz") for name in names(logs.folder)))
    assert cipherlog_core.stop()
    assert len(names(logs.folder)) == 9
    cipherlog_core.start("app", settings=settings)
    for _ in range(40):
        assert logger.event("x", text="y" * 200)
    assert cipherlog_core.stop()  # at once, as a short program does

    assert min(segment.number for segment in closed_segments(str(logs.folder), "app.jsonl")) > 9


def test_a_thread_that_finds_the_log_closed_leaves_its_news_to_stop(tmp_path: Path) -> None:
    """What was closed just before is not forgotten: the oldest are deleted all the same."""
    closed = [segment(tmp_path, number) for number in range(1, 6)][-1]
    archiver = Archiver(list)
    archiver.note_closed("app.jsonl", closed.path)
    archiver._work(lambda: True)
    archiver.stop(1, [Log(Folders.of(str(tmp_path)), "app.jsonl", Settings(backups=2))])

    assert names(tmp_path) == ["000004.jsonl", "000005.jsonl"]
