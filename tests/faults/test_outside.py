"""What others do to the files of a log: delete, replace, truncate, lock away; plant links, pipes and devices."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import delete

import cipherlog_core
from cipherlog_core import Settings
from cipherlog_core._archive import Log, _due, compress
from cipherlog_core._folders import Folders
from cipherlog_core._ledger import Ledger
from cipherlog_core._logfile import LogFile
from cipherlog_core._rotation import Segment
from oracle import RIGHT, Verdict, judge_kept, read

VICTIM = b"nobody may touch this\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr("cipherlog_core._settings.notice._seen", set())
    yield tmp_path / "logs"
    cipherlog_core.stop(0.5)


def settings(folder: Path, **more: object) -> Settings:
    return Settings(dir=str(folder), queue_max=64, queue_block_ms=20, backups=0, gzip_after=0, **more)


def written(folder: Path, producer: str, seconds: float = 1) -> bool:
    """Whether an event of *producer* is in the log within a second."""
    deadline = time.monotonic() + seconds
    while (producer, 0) not in read(folder)[0]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def emptied(folder: Path) -> None:
    os.truncate(folder / "app.jsonl", 0)


def copied_and_emptied(folder: Path) -> None:
    """As logrotate's copytruncate."""
    shutil.copy(folder / "app.jsonl", folder / "app-20260101T000000Z-000001.jsonl")
    os.truncate(folder / "app.jsonl", 0)


def renamed(folder: Path) -> None:
    (folder / "app.jsonl").rename(folder / "app-20260101T000000Z-000001.jsonl")


def moved_behind_a_link(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))


DEEDS: dict[str, tuple[Callable[[Path], object], bool]] = {
    "file deleted": (lambda folder: (folder / "app.jsonl").unlink(), False),
    "folder deleted": (delete, False),
    "lock file deleted": (lambda folder: (folder / ".spool" / "app.jsonl.lock").unlink(), True),
    "file truncated": (emptied, False),
    "copied and truncated": (copied_and_emptied, True),
    "file renamed": (renamed, True),
    "folder replaced by a link to it": (moved_behind_a_link, True),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_what_is_logged_after_a_deed_is_there_within_a_second(deed: str, folder: Path) -> None:
    """And what was there before, unless it is that which was taken away."""
    do, keeps = DEEDS[deed]
    logger = cipherlog_core.start("app", settings=settings(folder))
    assert logger.event("numbered", producer="before", seq=0)
    assert written(folder, "before")
    do(folder)
    assert logger.event("numbered", producer="after", seq=0)

    assert written(folder, "after")
    assert cipherlog_core.stop()
    assert judge_kept(folder, {("after", 0)} | ({("before", 0)} if keeps else set())) == RIGHT


@pytest.mark.parametrize("deed", ["file deleted", "folder deleted"])
def test_a_writer_that_keeps_its_file_is_caught(deed: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: what it logs after the deed is in no log."""
    find = LogFile._find_log
    monkeypatch.setattr(LogFile, "_find_log", lambda log, ledger: log._descriptor >= 0 or find(log, ledger))
    monkeypatch.setattr(Ledger, "in_place", lambda _: True)
    logger = cipherlog_core.start("app", settings=settings(folder))
    assert logger.event("numbered", producer="before", seq=0)
    assert written(folder, "before")
    DEEDS[deed][0](folder)
    assert logger.event("numbered", producer="after", seq=0)
    assert cipherlog_core.stop()

    assert ("after", 0) in judge_kept(folder, {("after", 0)}).missing


PLANTS: dict[str, Callable[[Path, Path], object]] = {
    "symlink": lambda path, victim: path.symlink_to(victim),
    "hard link": lambda path, victim: path.hardlink_to(victim),
    "FIFO": lambda path, _: os.mkfifo(path),
    "device": lambda path, _: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3)),
    "folder": lambda path, _: path.mkdir(),
    "foreign": lambda path, _: (path.write_bytes(VICTIM), os.chown(path, 4321, 4321)),
}


def planted(what: str, path: Path, victim: Path) -> Path:
    """A thing at *path*; the file that it is, or leads to."""
    victim.write_bytes(VICTIM)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        PLANTS[what](path, victim)
    except PermissionError:
        pytest.skip(f"only root can make a {what}")
    return path if what == "foreign" else victim


@pytest.mark.parametrize("what", [what for what in PLANTS if what != "hard link"])
@pytest.mark.parametrize("where", ["app.jsonl", pytest.param(".spool/app.jsonl.lock", marks=pytest.mark.soak)])
def test_what_is_planted_is_not_written_to(where: str, what: str, folder: Path) -> None:
    """Nothing hangs, what is refused is counted, and once the thing is gone the log goes on within a second."""
    folder.mkdir()
    victim = planted(what, folder / where, folder.parent / "victim")
    logger = cipherlog_core.start("app", settings=settings(folder))
    assert logger.event("numbered", producer="a", seq=0)
    assert not cipherlog_core.flush(0.05)
    assert victim.read_bytes() == VICTIM
    assert cipherlog_core.stats().errors
    if what == "folder":
        (folder / where).rmdir()
    else:
        (folder / where).unlink()

    assert written(folder, "a")
    assert cipherlog_core.stop()
    assert judge_kept(folder, {("a", 0)}) == RIGHT
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()} == {0o600}
    assert what == "foreign" or victim.read_bytes() == VICTIM


def test_a_spool_that_is_a_link_is_not_followed(folder: Path) -> None:
    """Nothing is made where it leads."""
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    folder.mkdir()
    (folder / ".spool").symlink_to(elsewhere)
    logger = cipherlog_core.start("app", settings=settings(folder))
    assert logger.event("numbered", producer="a", seq=0)
    assert not cipherlog_core.flush(0.05)
    assert list(elsewhere.iterdir()) == []
    (folder / ".spool").unlink()

    assert written(folder, "a")
    assert cipherlog_core.stop()


@pytest.mark.parametrize("what", ["symlink", "hard link"])
def test_a_writer_that_follows_links_is_caught(what: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: the victim shows it."""
    folder.mkdir()
    victim = planted(what, folder / "app.jsonl", folder.parent / "victim")
    monkeypatch.setattr(
        "cipherlog_core._logfile.open_regular", lambda path, flags, mode, **_: os.open(path, flags, mode)
    )
    monkeypatch.setattr(Ledger, "knows", lambda *_: True)
    assert cipherlog_core.start("app", settings=settings(folder)).event("numbered", producer="a", seq=0)
    assert cipherlog_core.stop()

    assert victim.read_bytes() != VICTIM


def linked(folder: Path, backup: Path) -> None:
    """Each file of the log gets a second name, as by ``cp -al``."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        target = backup / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(path)


KILLED = """
import os, signal, cipherlog_core
logger = cipherlog_core.start("app")
for seq in range(10):
    assert logger.event("numbered", producer="before", seq=seq) and (seq or cipherlog_core.flush())
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("lives", [True, False], ids=["under the log's hand", "between two processes"])
def test_a_backup_by_hard_links_silences_no_log(lives: bool, folder: Path) -> None:
    """Log, lock and ring have a second name: the log goes on in the same file, and what was in the ring is in it."""
    names = {"LOG_DIR": str(folder), "LOG_BACKUPS": "0"}
    subprocess.run([sys.executable, "-c", KILLED], env={**os.environ, **names}, check=False, timeout=60)
    logger = cipherlog_core.start("app", settings=settings(folder)) if lives else None
    linked(folder, folder.with_name("backup"))
    logger = logger or cipherlog_core.start("app", settings=settings(folder))
    for seq in range(10):
        assert logger.event("numbered", producer="after", seq=seq)
    assert cipherlog_core.stop()

    assert judge_kept(folder, {(name, seq) for name in ("before", "after") for seq in range(10)}) == RIGHT
    assert (folder / "app.jsonl").samefile(folder.with_name("backup") / "app.jsonl")
    assert not any(folder.glob("app-*"))


@pytest.mark.parametrize("settled", [True, False], ids=["in place of the log", "before there is a log"])
def test_a_hard_link_that_is_planted_becomes_a_segment(settled: bool, folder: Path) -> None:
    """Nothing is written to what it leads to, nor is that compressed; the log goes on at once in a file of its own."""
    folder.mkdir()
    if settled:
        assert cipherlog_core.start("app", settings=settings(folder)).event("numbered", producer="before", seq=0)
        assert cipherlog_core.stop()
        (folder / "app.jsonl").rename(folder / "app-20260101T000000Z-000001.jsonl")
    victim = folder.with_name("victim")
    victim.write_bytes(VICTIM)
    (folder / "app.jsonl").hardlink_to(victim)
    logger = cipherlog_core.start("app", settings=settings(folder))
    assert logger.event("numbered", producer="a", seq=0)
    assert cipherlog_core.stop()

    assert victim.read_bytes() == VICTIM
    (planted,) = (path for path in folder.glob("app-*") if path.samefile(victim))
    assert not planted.samefile(folder / "app.jsonl")
    kept = {("before", 0), ("a", 0)} if settled else {("a", 0)}
    assert judge_kept(folder, kept) == Verdict(torn=[VICTIM.rstrip()])
    due = _due(Log(Folders.of(str(folder)), "app.jsonl", settings(folder)))
    assert str(planted) not in [segment.path for segment in due]


def test_a_lock_file_that_is_a_planted_hard_link_is_exchanged(folder: Path) -> None:
    """Nothing is written to what it leads to, and no event waits."""
    (folder / ".spool").mkdir(parents=True)
    victim = folder.with_name("victim")
    victim.write_bytes(VICTIM)
    (folder / ".spool" / "app.jsonl.lock").hardlink_to(victim)
    before = cipherlog_core.stats().errors
    logger = cipherlog_core.start("app", settings=settings(folder))
    assert logger.event("numbered", producer="a", seq=0)
    assert cipherlog_core.stop()

    assert victim.read_bytes() == VICTIM
    assert judge_kept(folder, {("a", 0)}) == RIGHT
    assert cipherlog_core.stats().errors == before


@pytest.mark.parametrize("what", ["symlink", "FIFO", "hard link"])
@pytest.mark.parametrize("place", [".gz", ".tmp"])
def test_a_compressed_segment_is_written_to_nothing_that_is_planted(place: str, what: str, folder: Path) -> None:
    """The copy is made anew under a name of its own; what has the final name stays, and is taken for the segment."""
    folder.mkdir()
    (folder / ".spool").mkdir()
    plain = folder / "app-20260101T000000Z-000001.jsonl"
    plain.write_bytes(b"{}\n")
    path = folder / f"{plain.name}.gz" if place == ".gz" else folder / ".spool" / f"{plain.name}.gz.tmp"
    victim = planted(what, path, folder.parent / "victim")
    compress(Folders.of(str(folder)), Segment(1, str(plain), is_compressed=False))

    assert victim.read_bytes() == VICTIM
    if place == ".tmp":
        assert stat.S_IMODE((folder / f"{plain.name}.gz").stat().st_mode) == 0o600


MODES = """
import os, sys, cipherlog_core
for name, umask, mode in zip(*[iter(sys.argv[1:])] * 3):
    os.umask(int(umask, 8))
    os.environ.update(LOG_DIR=name, LOG_FILE_MODE=mode)
    logger = cipherlog_core.start("app")
    for seq in range(100):
        logger.event("numbered", producer="a", seq=seq)
        cipherlog_core.flush() if not seq % 50 else None
    if os.fork() == 0:
        logger.event("left in a ring")
        os._exit(0)
    os.wait()
    cipherlog_core.stop()
"""
GIVEN = {"0600": (0o600, 0o700), "0640": (0o640, 0o750), "644": (0o644, 0o755)}


def test_the_modes_of_what_is_made(folder: Path) -> None:
    """Log, segments, copies and folder are as LOG_FILE_MODE says, whatever the umask; the rest is private."""
    runs = [(folder.with_name(f"{umask}-{mode}"), umask, mode) for umask in ("000", "077") for mode in GIVEN]
    command = [sys.executable, "-c", MODES, *(part for run in runs for part in run)]
    names = {"LOG_ROTATE_SIZE": "9000", "LOG_GZIP_AFTER": "0"}
    subprocess.run(command, env={**os.environ, **names}, check=True, timeout=60)

    for made, _, mode in runs:
        own = [path for path in made.glob(".spool/*") if path.suffix in (".ring", ".lock")]
        assert {stat.S_IMODE(path.stat().st_mode) for path in made.glob("app*")} == {GIVEN[mode][0]}
        assert any(path.suffix == ".ring" for path in own)
        assert {stat.S_IMODE(path.stat().st_mode) for path in own} == {0o600}
        assert stat.S_IMODE((made / ".spool").stat().st_mode) == 0o700
        assert stat.S_IMODE(made.stat().st_mode) == GIVEN[mode][1]


LOCKED_OUT = """
import os, sys, time, cipherlog_core
folder = sys.argv[1]
os.setgid(65534); os.setuid(65534)
logger = cipherlog_core.start("app")
assert logger.event("numbered", producer="before", seq=0) and cipherlog_core.flush()
os.chmod(folder, 0)
assert logger.event("numbered", producer="during", seq=0) and not cipherlog_core.flush(0.3)
os.chmod(folder, 0o700)
end = time.monotonic() + 1
while cipherlog_core.stats().pending_bytes:
    assert time.monotonic() < end
    time.sleep(0.005)
assert logger.event("numbered", producer="after", seq=0) and cipherlog_core.stop()
assert not cipherlog_core.stats().dropped
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become the user who is locked out")
def test_a_folder_that_is_locked_for_a_while(tmp_path: Path) -> None:
    """chmod 000, and back: what came meanwhile is written within a second."""
    folder = Path(f"/tmp/locked-{os.getpid()}")
    folder.mkdir(mode=0o700)
    try:
        os.chown(folder, 65534, 65534)
        command = [sys.executable, "-W", "error", "-c", LOCKED_OUT, folder]
        environment = {**os.environ, "LOG_DIR": str(folder)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("\n") == 1
        assert judge_kept(folder, {(name, 0) for name in ("before", "during", "after")}) == RIGHT
    finally:
        shutil.rmtree(folder)


ALL_CLOSED = """
import os, sys, time, cipherlog_core
logger = cipherlog_core.start("app")
assert logger.event("numbered", producer="a", seq=0) and cipherlog_core.flush()
open_ones = [int(name) for name in os.listdir("/dev/fd")]
os.closerange(3, max(open_ones) + 1)
numbers = [os.open(sys.argv[1], os.O_RDWR) for _ in open_ones] if sys.argv[1:] else []
start = time.monotonic()
for seq in range(1, 50):
    assert logger.event("numbered", producer="a", seq=seq)
assert cipherlog_core.flush(5)
assert time.monotonic() - start < 1
assert cipherlog_core.stop()
for number in numbers:
    os.fstat(number)
"""


@pytest.mark.parametrize("is_reused", [False, True], ids=["closed", "another's"])
def test_a_program_that_closes_all_descriptors(is_reused: bool, folder: Path) -> None:
    """As daemons do: ours are opened anew, and what has their numbers now is neither written to nor closed."""
    victim = folder.with_name("database")
    victim.write_bytes(VICTIM)
    command = [sys.executable, "-W", "error", "-c", ALL_CLOSED, *([victim] if is_reused else [])]
    names = {"LOG_DIR": str(folder)}
    done = subprocess.run(command, env={**os.environ, **names}, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert victim.read_bytes() == VICTIM
    assert judge_kept(folder, {("a", seq) for seq in range(50)}) == RIGHT


NO_DESCRIPTORS = """
import os, resource, cipherlog_core
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
logger = cipherlog_core.start("app")
held = []
for seq in range(300):
    if seq in (0, 150):
        while True:
            try:
                held.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
    if seq in (100, 250):
        while held:
            os.close(held.pop())
    assert logger.event("numbered", producer="a", seq=seq, text="x" * 100)
    if not seq % 10:
        cipherlog_core.flush(0.02)
assert cipherlog_core.stop()
"""


def test_a_process_without_a_descriptor_left(folder: Path) -> None:
    """Through rotations: what came meanwhile is written when there are some again."""
    names = {"LOG_DIR": str(folder), "LOG_ROTATE_SIZE": "9000", "LOG_BACKUPS": "0", "LOG_GZIP_AFTER": "0"}
    command = [sys.executable, "-W", "error", "-c", NO_DESCRIPTORS]
    done = subprocess.run(command, env={**os.environ, **names}, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") <= 4
    assert judge_kept(folder, {("a", seq) for seq in range(300)}) == RIGHT
