"""Disks that are full or do not suit, mounted for the test."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import cipherlog_core
from oracle import RIGHT, judge_kept, read

Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mount]:
    """Mounts a file system of a kind and makes it the log folder's."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = []

    def mount(kind: str, *options: str) -> Path:
        done = subprocess.run(
            ["mount", "-t", kind, *options, "none", folder], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"cannot mount a {kind} here: {done.stderr.strip()}")
        mounted.append(folder)
        monkeypatch.setenv("LOG_DIR", str(folder / "logs"))
        return folder

    monkeypatch.setattr("cipherlog_core._settings.notice._seen", set())
    monkeypatch.setenv("LOG_QUEUE_MAX", "64")
    yield mount
    cipherlog_core.stop()
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_drops_are_counted_and_the_rest_is_written_later(
    mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was accepted is in the log once there is room, what was refused is counted, and the log says how many."""
    disk = mount("tmpfs", "-o", "size=4m")
    monkeypatch.setenv("LOG_QUEUE_BLOCK_MS", "50")
    logger = cipherlog_core.start("disk-full")
    (disk / "filler").write_bytes(bytes(2 << 20))
    start = time.monotonic()
    kept = {seq for seq in range(8000) if logger.event("numbered", producer="a", seq=seq, text="x" * 300)}
    assert time.monotonic() - start < 5
    assert len(kept) < 8000
    (disk / "filler").unlink()
    assert cipherlog_core.flush()
    assert logger.event("numbered", producer="a", seq=8000)
    assert cipherlog_core.flush()

    found, torn = read(disk / "logs", "disk-full")
    assert found.keys() == {("a", seq) for seq in [*kept, 8000]}
    assert (set(found.values()), torn) == ({1}, [])
    assert cipherlog_core.stats().files["disk-full.jsonl"].dropped == 8000 - len(kept)
    assert f'"fields":{{"dropped":{8000 - len(kept)},' in (disk / "logs" / "disk-full.jsonl").read_text()


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [("ramfs", (), "a mapped file can fault on ramfs"), ("tmpfs", ("-o", "size=512k"), "No space left on device")],
)
def test_where_no_ring_can_be_kept_it_is_told_and_logging_goes_on(
    kind: str, options: tuple[str, ...], reason: str, mount: Mount, caplog: pytest.LogCaptureFixture
) -> None:
    """A file system that cannot promise its pages gets a ring in memory, which is not durable."""
    disk = mount(kind, *options)
    logger = cipherlog_core.start(f"on-{kind}")
    for seq in range(100):
        assert logger.event("numbered", producer="a", seq=seq)
    assert cipherlog_core.flush()

    stats = cipherlog_core.stats().files[f"on-{kind}.jsonl"]
    assert (stats.durable, stats.written) == (False, 100)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("cipherlog_core", "WARNING")
    assert reason in record.getMessage()
    assert len(read(disk / "logs", f"on-{kind}")[0]) == 100
    assert [path.name for path in (disk / "logs" / ".spool").glob("[!.]*")] == [f"on-{kind}.jsonl.lock"]


FULL = """
import os, sys, time, cipherlog_core
from functools import partial
from cipherlog_core import _ledger, _logfile
from cipherlog_core._pipeline import PIPELINE
failed = 0
class Counting:
    def __getattr__(self, name):
        function = getattr(os, name)
        return partial(self.counted, function) if name in ("write", "pwrite") else function
    def counted(self, function, *given):
        global failed
        try:
            return function(*given)
        except OSError:
            failed += 1
            raise
_logfile.os = _ledger.os = Counting()
logger = cipherlog_core.start("app")
filler = sys.argv[1]
with open(filler, "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass
kept, seq = [], 0
while failed < 11_000:
    if logger.event("numbered", producer="a", seq=seq, text="x" * 300):
        kept.append(seq)
    seq += 1
    try:
        PIPELINE.spool("app.jsonl").move()
    except OSError:
        pass
os.unlink(filler)
end = time.monotonic() + 1
while cipherlog_core.stats().pending_bytes:
    assert time.monotonic() < end
    time.sleep(0.001)
for seq in range(seq, seq + 1000):
    assert logger.event("numbered", producer="a", seq=seq)
    kept.append(seq)
assert cipherlog_core.stop()
print(*kept)
print(seq + 1 - len(kept), cipherlog_core.stats().dropped)
"""


def test_eleven_thousand_failing_writes_say_little(mount: Mount) -> None:
    """At most ten lines on stderr; a second after there is room all is written; no empty segment is left."""
    disk = mount("tmpfs", "-o", "size=3m")
    environment = {
        **os.environ,
        "LOG_DIR": str(disk / "logs"),
        "LOG_QUEUE_MAX": "64",
        "LOG_QUEUE_BLOCK_MS": "0",
        "LOG_ROTATE_SIZE": "100000",
        "LOG_BACKUPS": "0",
        "LOG_GZIP": "false",
    }
    command = [sys.executable, "-W", "error", "-c", FULL, disk / "filler"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)

    assert done.returncode == 0, done.stderr
    kept, counts = done.stdout.splitlines()
    refused, dropped = map(int, counts.split())
    assert refused == dropped
    assert judge_kept(disk / "logs", {("a", int(seq)) for seq in kept.split()}) == RIGHT
    assert done.stderr.count("\n") <= 10
    assert all(path.stat().st_size for path in (disk / "logs").glob("app*"))


def test_a_disk_that_becomes_read_only(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that takes nothing lies over the folder for a while: all is written within a second after it."""
    disk = mount("tmpfs", "-o", "size=8m")
    logger = cipherlog_core.start("read-only")
    assert logger.event("numbered", producer="a", seq=0)
    assert cipherlog_core.flush()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", disk / "logs"], check=True)
    try:
        assert logger.event("numbered", producer="a", seq=1)
        assert not cipherlog_core.flush(0.3)
    finally:
        subprocess.run(["umount", disk / "logs"], check=True)
    deadline = time.monotonic() + 1
    while cipherlog_core.stats().files["read-only.jsonl"].pending_bytes:
        assert time.monotonic() < deadline
        time.sleep(0.002)

    assert logger.event("numbered", producer="a", seq=2)
    assert cipherlog_core.stop()
    assert judge_kept(disk / "logs", {("a", seq) for seq in range(3)}, "read-only") == RIGHT


def test_a_disk_that_is_remounted_read_only(mount: Mount) -> None:
    """Between two starts, as the kernel remounts no disk that is written to: all is written within a second after."""
    disk = mount("tmpfs", "-o", "size=8m")
    assert cipherlog_core.start("remounted").event("numbered", producer="a", seq=0)
    assert cipherlog_core.stop()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        logger = cipherlog_core.start("remounted")
        assert logger.event("numbered", producer="a", seq=1)
        assert not cipherlog_core.flush(0.2)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    deadline = time.monotonic() + 1
    while cipherlog_core.stats().files["remounted.jsonl"].pending_bytes:
        assert time.monotonic() < deadline
        time.sleep(0.002)

    assert logger.event("numbered", producer="a", seq=2)
    assert cipherlog_core.stop()
    assert judge_kept(disk / "logs", {("a", seq) for seq in range(3)}, "remounted") == RIGHT


BROKEN = """
import json, os, sys, time, cipherlog_core
logger = cipherlog_core.start("app")
kept = []
def log(count):
    for _ in range(count):
        if logger.event("numbered", producer="a", seq=len(kept), text="x" * 300):
            kept.append(len(kept))
        else:
            refused.append(1)
refused = []
log(50)
assert cipherlog_core.flush()
synced = len(kept)
with open(sys.argv[1], "w") as trigger:
    trigger.write("test")
log(100)
assert not cipherlog_core.flush(0.3)
os.sync()  # cleans the ring's pages: the next store into one asks the file system, which is read-only now
log(5000)
assert len(refused) == cipherlog_core.stats().dropped > 0
assert not cipherlog_core.stop(0.5)
print(json.dumps([synced, len(kept)]))
"""


@contextmanager
def ext4(image: Path, disk: Path) -> Iterator[None]:
    """The file system in *image*, which becomes read-only with its first error."""
    command = ["mount", "-o", "loop,errors=remount-ro", image, disk]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount an ext4 here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", disk], check=True)


def broken(tmp_path: Path, fsync_ms: int) -> tuple[int, int, set[int]]:
    """How many events were synced and how many acknowledged, and which are there when the disk is mounted again."""
    image, disk = tmp_path / "image", tmp_path / "disk"
    disk.mkdir()
    image.write_bytes(bytes(16 << 20))
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not installed")
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    names = {"LOG_DIR": str(disk / "logs"), "LOG_QUEUE_MAX": "64", "LOG_FSYNC_MS": str(fsync_ms)}
    environment = {**os.environ, **names, "LOG_QUEUE_BLOCK_MS": "20"}
    with ext4(image, disk):
        source = subprocess.run(["findmnt", "-n", "-o", "SOURCE", disk], capture_output=True, text=True, check=True)
        trigger = Path("/sys/fs/ext4", Path(source.stdout.strip()).name, "trigger_fs_error")
        command = [sys.executable, "-W", "error", "-c", BROKEN, trigger]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("\n") <= 4
    with ext4(image, disk):
        found = {seq for _, seq in read(disk / "logs")[0]}
    synced, kept = json.loads(done.stdout)
    return synced, kept, found


@pytest.mark.soak
def test_a_disk_whose_errors_make_it_read_only(tmp_path: Path) -> None:
    """No store into the ring kills the process, what is refused is counted, what was synced is kept."""
    synced, kept, found = broken(tmp_path, fsync_ms=10)

    assert set(range(synced)) <= found <= set(range(kept))


@pytest.mark.soak
def test_a_disk_whose_errors_take_what_was_not_synced_is_caught(tmp_path: Path) -> None:
    """The negative control: without LOG_FSYNC_MS the same error takes the log."""
    synced, _, found = broken(tmp_path, fsync_ms=0)

    assert set(range(synced)) - found


LIMITED = """
import resource, time, cipherlog_core
logger = cipherlog_core.start("app")
limit = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))
kept = [seq for seq in range(500) if logger.event("numbered", producer="a", seq=seq, text="x" * 300)]
assert not cipherlog_core.flush(0.2)
resource.setrlimit(resource.RLIMIT_FSIZE, limit)
end = time.monotonic() + 1
while cipherlog_core.stats().pending_bytes:
    assert time.monotonic() < end
    time.sleep(0.002)
assert len(kept) == 500 and cipherlog_core.stop()
"""


def test_a_write_that_is_cut_short_is_finished(tmp_path: Path) -> None:
    """The limit of a file's size cuts a batch in its middle; no line is torn."""
    command = [sys.executable, "-W", "error", "-c", LIMITED]
    environment = {**os.environ, "LOG_DIR": str(tmp_path), "LOG_QUEUE_MAX": "64"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    assert judge_kept(tmp_path, {("a", seq) for seq in range(500)}) == RIGHT


STUCK = """
import os, sys, time, cipherlog_core
from cipherlog_core import _logfile
delay = float(sys.argv[1])
class Slow:
    def __getattr__(self, name):
        return getattr(os, name)
    def write(self, *given):
        time.sleep(delay)
        return os.write(*given)
logger = cipherlog_core.start("app")
logger.event("warm up")
assert cipherlog_core.flush()
_logfile.os = Slow()
kept, calls = [], []
begin = time.monotonic()
for seq in range(int(sys.argv[2])):
    while time.monotonic() < begin + seq / 2000:
        time.sleep(0.0002)
    before = time.monotonic()
    if logger.event("numbered", producer="a", seq=seq, text="x" * 700):
        kept.append(seq)
    calls.append(time.monotonic() - before)
_logfile.os = os
assert cipherlog_core.flush(20) and cipherlog_core.stop(10)
print(*kept)
print(sum(call > 0.1 for call in calls), max(calls), sorted(calls)[len(calls) * 99 // 100])
print(cipherlog_core.stats().dropped)
"""


@pytest.mark.parametrize(
    ("delay", "events", "stalls"),
    [(0.5, 1500, 1), pytest.param(5.0, 10_000, 1, marks=pytest.mark.soak)],
    ids=["slow disk", "stuck disk"],
)
def test_a_disk_that_hangs_stalls_at_most_one_call(delay: float, events: int, stalls: int, tmp_path: Path) -> None:
    """2,000 events a second: one call may wait ten times LOG_QUEUE_BLOCK_MS in all, then all drop at once, counted."""
    command = [sys.executable, "-c", STUCK, str(delay), str(events)]
    environment = {**os.environ, "LOG_DIR": str(tmp_path), "LOG_QUEUE_MAX": "1000", "LOG_QUEUE_BLOCK_MS": "200"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)

    assert done.returncode == 0, done.stderr
    kept, calls, dropped = done.stdout.splitlines()
    stalled, longest, p99 = map(float, calls.split())
    print(f"{stalled:.0f} stalls, longest {longest:.3f} s, p99 {p99 * 1e6:.0f} us, {dropped} dropped")
    assert stalled <= stalls
    assert longest <= 2.2
    assert p99 <= 0.001
    assert int(dropped) == events - len(kept.split())
    assert judge_kept(tmp_path, {("a", int(seq)) for seq in kept.split()}) == RIGHT
    told = (tmp_path / "app.jsonl").read_text().count('"event":"records_dropped"')
    assert (told > 0) == (int(dropped) > 0)
