from __future__ import annotations

import os
from pathlib import Path

import pytest

from cipherlog_core._ring import BATCH, HEAD, HEADER, TAIL, BadRingError, Ring

SIZE = 1 << 20


def fill(ring: Ring, lines: bytes) -> None:
    """Append *lines* as the owner would."""
    for at, byte in enumerate(lines, start=ring.words[HEAD]):
        ring.map[HEADER + at % ring.size] = byte
    ring.words[HEAD] += len(lines)


def test_a_new_ring_is_empty_allocated_and_locked(tmp_path: Path) -> None:
    """Its blocks are on disk, so that no store can fault, and nobody else gets its lock."""
    ring = Ring.create(str(tmp_path), "app.jsonl", SIZE)

    (path,) = tmp_path.iterdir()
    assert path.name == ring.name
    assert path.stat().st_blocks * 512 >= SIZE + HEADER
    assert (ring.pending, ring.durable, path.stat().st_mode & 0o777) == (0, True, 0o600)
    ring.close()


def test_what_is_in_a_ring_is_there_for_who_attaches(tmp_path: Path) -> None:
    """Another mapping of the file sees the lines, over the end of the ring too."""
    ring = Ring.create(str(tmp_path), "app.jsonl", SIZE)
    ring.words[HEAD] = ring.words[TAIL] = 5 * SIZE - 3
    fill(ring, b"one\ntwo\n")

    other = Ring.attach(str(tmp_path / ring.name))
    assert other.batch() == (5 * SIZE - 3, b"one\ntwo\n")
    other.close()
    ring.close()


def test_a_batch_is_whole_lines(tmp_path: Path) -> None:
    """At most `BATCH` bytes, cut behind a line; a longer line goes alone."""
    ring = Ring.create(str(tmp_path), "app.jsonl", SIZE)
    long, line = b"y" * (BATCH + 5) + b"\n", b"x" * 999 + b"\n"
    fill(ring, line * 100 + long + line)
    batches = []
    while (batch := ring.batch())[1]:
        batches.append(batch[1])
        ring.words[TAIL] = batch[0] + len(batch[1])

    assert [len(batch) for batch in batches] == [65_000, 35_000, len(long), 1_000]
    assert b"".join(batches) == line * 100 + long + line
    ring.close()


def test_a_batch_of_text_is_whole_records(tmp_path: Path) -> None:
    """Lines that begin with a space stay with the record before them, however many and long they are."""
    ring = Ring.create(str(tmp_path), "app.log", SIZE)
    records = [b"failed\n" + b"    at f\n" * count for count in (7000, 200, 9000, 0, 7300)]
    fill(ring, b"".join(records))
    batches = []
    while (batch := ring.batch())[1]:
        batches.append(batch[1])
        ring.words[TAIL] = batch[0] + len(batch[1])

    assert batches == [records[0] + records[1], records[2], records[3], records[4]]
    ring.close()


@pytest.mark.parametrize("damage", ["empty", "short", "magic", "offsets"])
def test_a_damaged_file_is_no_ring(damage: str, tmp_path: Path) -> None:
    """Whatever is wrong with it, attaching says so and keeps no descriptor."""
    ring = Ring.create(str(tmp_path), "app.jsonl", SIZE)
    path = tmp_path / ring.name
    if damage == "offsets":
        ring.words[TAIL] = 7
    elif damage == "magic":
        ring.words[0] = 0
    ring.close()
    if damage in ("empty", "short"):
        os.truncate(path, 0 if damage == "empty" else SIZE)
    before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(BadRingError, match=r"app\.jsonl"):
        Ring.attach(str(path))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_ring_that_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system does not suit, there is an error and no file."""
    monkeypatch.setattr("cipherlog_core._filesystem._STEADY", set())

    with pytest.raises(OSError, match="a mapped file can fault on"):
        Ring.create(str(tmp_path), "app.jsonl", SIZE)
    assert list(tmp_path.iterdir()) == []


def test_an_anonymous_ring_is_not_durable() -> None:
    """It works like another, and says that it dies with the process."""
    ring = Ring.anonymous("app.jsonl", SIZE)
    fill(ring, b"one\n")

    assert (ring.batch(), ring.durable) == ((0, b"one\n"), False)
    ring.close()
