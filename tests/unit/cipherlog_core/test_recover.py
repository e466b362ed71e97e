from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from test_ring import SIZE, fill

from cipherlog_core._folders import Folders
from cipherlog_core._ledger import Entry, open_ledger
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
    left_behind(spool, b"text\n    ValueError: no\n      at here\nmore\n", "text.log")

    found = recover(str(spool.parent))
    assert dict(found.records) == {"app.jsonl": 3, "openrouter-costs.jsonl": 1, "empty.jsonl": 0, "text.log": 2}
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


def test_one_that_cannot_be_opened_keeps_back_no_other(spool: Path) -> None:
    """A folder in the place of a ring, a link, a FIFO: told, and left alone."""
    (spool / "a.jsonl.1-abcdefabcdef.ring").mkdir()
    (spool / "b.jsonl.1-abcdefabcdef.ring").symlink_to("/etc/passwd")
    os.mkfifo(spool / "c.jsonl.1-abcdefabcdef.ring")
    left_behind(spool, b"one\n", "d.jsonl")
    found = recover(str(spool.parent))

    assert found.records == {"d.jsonl": 1}
    assert [path.partition(".jsonl")[0][-1] for path, _ in found.troubles] == ["a", "b", "c"]
    assert (spool.parent / "d.jsonl").read_bytes() == b"one\n"


def from_another_boot(path: Path) -> None:
    """Make it look as if the machine had been started anew since."""
    with path.open("r+b") as file:
        file.seek(16)
        file.write(bytes(range(16)))


def test_a_ring_of_another_run_of_the_machine_gives_only_what_is_whole(spool: Path) -> None:
    """Its pages may be of any age: what is no record is counted and left out."""
    lines = [b'{"a":1}\n', b'{"b":\0\0\0\n', b'{"c":3}\n', b"\0" * 50 + b"\n", b'{"d":4}\n', b'{"e"']
    from_another_boot(left_behind(spool, b"".join(lines)))
    found = recover(str(spool.parent))

    assert (spool.parent / "app.jsonl").read_bytes() == lines[0] + lines[2] + lines[4]
    assert (found.records, found.lost) == ({"app.jsonl": 3}, {"app.jsonl": 3})
    assert rings(spool) == []


def test_a_ledger_of_another_run_of_the_machine_is_void(spool: Path) -> None:
    """The half line that it speaks of is ended, and the ring decides for itself."""
    path = left_behind(spool, b'{"a":1}\n{"b":2}\n')
    from_another_boot(path)
    log = spool.parent / "app.jsonl"
    log.write_bytes(b'{"a":')
    ledger = open_ledger(str(spool / "app.jsonl.lock"))
    ledger.open_entry(Entry(log.stat().st_ino, 0, 0, 16, bytes(range(16)), path.name))
    ledger.close()
    recover(str(spool.parent))

    assert log.read_bytes() == b'{"a":\n{"a":1}\n{"b":2}\n'


def test_a_lock_that_is_not_given_back_is_waited_for_no_longer_than_it_must(
    spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a process that is stopped: the ring stays for the next look, and other logs do not wait."""
    monkeypatch.setattr("cipherlog_core._recover._PATIENCE", 0.05)
    left_behind(spool, b"one\n")
    left_behind(spool, b"two\n", "other.jsonl")
    ledger = open_ledger(str(spool / "app.jsonl.lock"))
    assert ledger is not None
    assert ledger.try_lock()
    found = recover(str(spool.parent))
    ledger.close()

    assert [str(why) for _, why in found.troubles] == ["another process has had the lock of app.jsonl for 0 s"]
    assert +found.records == {"other.jsonl": 1}
    assert +recover(str(spool.parent)).records == {"app.jsonl": 1}


def test_rings_elsewhere_are_found(spool: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """In a folder for all logs that cannot hold their own, each finds its own."""
    elsewhere = tmp_path_factory.mktemp("rings")
    for folder, line in ((spool.parent, b"mine\n"), (spool.parent / "other", b"another's\n")):
        rings_of = Folders.of(str(folder), str(elsewhere)).elsewhere or ""
        os.makedirs(rings_of)
        left_behind(Path(rings_of), line)
    found = recover(str(spool.parent), str(elsewhere))

    assert dict(found.records) == {"app.jsonl": 1}
    assert (spool.parent / "app.jsonl").read_bytes() == b"mine\n"
    assert len(list(elsewhere.rglob("*.ring"))) == 1


def test_other_files_in_the_spool_are_not_touched(spool: Path) -> None:
    """Only names of rings count."""
    (spool / "notes.ring").write_text("mine")
    (spool / "app.jsonl.12-xyz.ring").write_text("mine")

    recover(str(spool.parent))
    assert rings(spool) == ["app.jsonl.12-xyz.ring", "notes.ring"]
