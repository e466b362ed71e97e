from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from test_ring import SIZE, fill

from cipherlog_core._ring import Ring
from cipherlog_core.reading import recover


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    (tmp_path / ".spool").mkdir()
    return tmp_path / ".spool"


def left_behind(spool: Path, lines: bytes, file_name: str = "app.jsonl") -> Path:
    """A ring with *lines* whose owner is dead."""
    ring = Ring.create(str(spool), file_name, SIZE)
    fill(ring, lines)
    ring.close()
    return spool / ring.name


def rings(spool: Path) -> list[str]:
    return sorted(path.name for path in spool.iterdir() if not path.name.endswith(".lock"))


def test_rings_of_dead_processes_are_emptied(spool: Path) -> None:
    """Each goes to the log of its name, and away."""
    left_behind(spool, b"one\n")
    left_behind(spool, b"two\nthree\n")
    left_behind(spool, b"cost\n", "openrouter-costs.jsonl")
    left_behind(spool, b"", "empty.jsonl")

    found = recover(str(spool.parent))
    assert dict(found.records) == {"app.jsonl": 3, "openrouter-costs.jsonl": 1, "empty.jsonl": 0}
    assert sorted((spool.parent / "app.jsonl").read_text().split()) == ["one", "three", "two"]
    assert (spool.parent / "openrouter-costs.jsonl").read_text() == "cost\n"
    assert rings(spool) == []


def test_the_ring_of_a_living_process_is_left_alone(spool: Path) -> None:
    """Its lock is taken: its owner moves its lines."""
    ring = Ring.create(str(spool), "app.jsonl", SIZE)
    fill(ring, b"mine\n")

    assert dict(recover(str(spool.parent)).records) == {}
    assert rings(spool) == [ring.name]
    ring.close()


def test_what_is_no_ring_is_kept_aside(spool: Path) -> None:
    """A file that cannot be read is renamed and never deleted."""
    path = left_behind(spool, b"one\n")
    os.truncate(path, 100)

    assert recover(str(spool.parent)).bad == [f"{path}.bad"]
    assert rings(spool) == [f"{path.name}.bad"]


def test_a_ring_that_was_never_finished_goes_away_in_time(spool: Path) -> None:
    """Its maker may still be at it, so it is not removed at once."""
    path = left_behind(spool, b"")
    hidden = path.rename(spool / f".{path.name}")

    recover(str(spool.parent))
    assert hidden.exists()
    os.utime(hidden, (time.time() - 61, time.time() - 61))
    recover(str(spool.parent))
    assert not hidden.exists()


def test_a_folder_without_logs_has_nothing_to_recover(tmp_path: Path) -> None:
    """Nothing is created by looking."""
    assert dict(recover(str(tmp_path / "logs")).records) == {}
    assert list(tmp_path.iterdir()) == []


def test_other_files_in_the_spool_are_not_touched(spool: Path) -> None:
    """Only names of rings count."""
    (spool / "notes.ring").write_text("mine")
    (spool / "app.jsonl.12-xyz.ring").write_text("mine")

    recover(str(spool.parent))
    assert rings(spool) == ["app.jsonl.12-xyz.ring", "notes.ring"]
