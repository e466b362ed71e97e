"""Disks that are full or do not suit, mounted for the test."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cipherlog_core
from oracle import read

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
